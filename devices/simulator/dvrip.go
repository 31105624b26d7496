package simulator

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/gosnmp/gosnmp"
)

// dvrip serves SystemInfo as Xiongmai's firmware does (NeiroNx/python-dvr).
func (s *Server) dvrip(conn net.Conn, k *Socket) {
	session := uint32(0)
	for {
		header := make([]byte, 20)
		if _, err := io.ReadFull(conn, header); err != nil || header[0] != 0xff {
			return
		}
		body := make([]byte, min(binary.LittleEndian.Uint32(header[16:]), 1<<16))
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		var asked struct{ Name, UserName, PassWord string }
		json.Unmarshal([]byte(strings.TrimRight(string(body), "\n\x00")), &asked)
		message := binary.LittleEndian.Uint16(header[14:])
		entry := Request{Protocol: k.Protocol, Method: strconv.Itoa(int(message)), Operation: asked.Name, Status: 100}
		answer := ""
		switch {
		case message == 1000:
			entry.Operation = "login"
			s.auth.mu.Lock()
			outcome := s.auth.count(asked.UserName == s.camera.Account.User && same(asked.PassWord, sofia(s.camera.Account.Password)))
			s.auth.mu.Unlock()
			if entry.Login = "dvrip " + outcome; outcome != accepted {
				entry.Status = 203
			} else {
				session = 0x17
			}
			answer = fmt.Sprintf(`{ "AliveInterval" : 21, "ChannelNum" : 1, "DeviceType " : "IPC", "ExtraChannel" : 0, "Ret" : %d, "SessionID" : "0x%08X" }`, entry.Status, session)
		case message == 1020 && asked.Name == "SystemInfo" && k.Login && session == 0:
			entry.Status = 105
			answer = `{ "Name" : "SystemInfo", "Ret" : 105, "SessionID" : "0x00000000" }`
		case message == 1020 && asked.Name == "SystemInfo":
			var fields []string
			for _, f := range k.Info {
				value, _ := json.Marshal(f.Value)
				if n, err := strconv.Atoi(f.Value); err == nil && strconv.Itoa(n) == f.Value {
					value = []byte(f.Value)
				}
				fields = append(fields, fmt.Sprintf("%q : %s", f.Name, value))
			}
			answer = fmt.Sprintf(`{ "Name" : "SystemInfo", "Ret" : 100, "SessionID" : "0x%08X", "SystemInfo" : { %s } }`, session, strings.Join(fields, ", "))
		default:
			entry.Status = 103
			answer = `{ "Ret" : 103 }`
		}
		s.note(entry)
		answer += "\n\x00"
		length := len(answer)
		if k.Hostile == TooLong {
			length += 100
		}
		reply := make([]byte, 20)
		reply[0], reply[1] = 0xff, 1
		binary.LittleEndian.PutUint32(reply[4:], session)
		binary.LittleEndian.PutUint16(reply[14:], message+1)
		binary.LittleEndian.PutUint32(reply[16:], uint32(length))
		if k.Hostile != "" && k.Hostile != TooLong {
			binary.LittleEndian.PutUint32(reply[16:], 1<<31)
			s.misbehaves(conn, k.Hostile, string(reply)+`{ "Name" : "`)
			return
		}
		conn.Write(append(reply, answer...))
		if k.Hostile == TooLong {
			return
		}
	}
}

// sofia is Xiongmai's hash of a password.
func sofia(password string) (hash string) {
	sum := md5.Sum([]byte(password))
	for i := 0; i < 16; i += 2 {
		hash += string("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[(int(sum[i])+int(sum[i+1]))%62])
	}
	return hash
}

// snmp answers GET in versions 1 and 2c, and nothing to a wrong community.
func (s *Server) snmp(conn net.PacketConn, k *Socket) {
	buf := make([]byte, 64<<10)
	decoder := &gosnmp.GoSNMP{}
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		packet, err := decoder.SnmpDecodePacket(buf[:n])
		if err != nil || packet.Version > gosnmp.Version2c {
			continue
		}
		s.note(Request{Protocol: k.Protocol, Operation: packet.PDUType.String()})
		if packet.Community != k.Community || packet.PDUType != gosnmp.GetRequest || k.Hostile == Silent {
			continue
		}
		if k.Hostile != "" {
			conn.WriteTo([]byte("\x30\x84\x7f\xff\xff\xff"+strings.Repeat("\x30\x80", 512)), from)
			continue
		}
		for i := range packet.Variables {
			v := &packet.Variables[i]
			if !k.object(v) && packet.Version == gosnmp.Version1 {
				packet.Error, packet.ErrorIndex = gosnmp.NoSuchName, uint8(i+1)
			}
		}
		packet.PDUType = gosnmp.GetResponse
		if b, err := packet.MarshalMsg(); err == nil {
			conn.WriteTo(b, from)
		}
	}
}

func (k *Socket) object(v *gosnmp.SnmpPDU) bool {
	for _, o := range k.Objects {
		if o.Name != strings.TrimPrefix(v.Name, ".") {
			continue
		}
		v.Type, v.Value = gosnmp.OctetString, o.Value
		if oid, ok := strings.CutPrefix(o.Value, "oid "); ok {
			v.Type, v.Value = gosnmp.ObjectIdentifier, oid
		}
		return true
	}
	v.Type, v.Value = gosnmp.NoSuchObject, nil
	return false
}
