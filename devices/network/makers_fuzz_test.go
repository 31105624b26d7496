package network

import (
	"bytes"
	"testing"
)

// A fuzz target for the reader of each maker's protocol: whatever comes makes
// claims that are clean, and no panic.

func by(read func(*session, *answer) bool) func(*session, *answer) {
	return func(s *session, a *answer) { read(s, a) }
}

func FuzzSUNAPI(f *testing.F) {
	f.Add("Model=XND-C9083RV\r\nFirmwareVersion=2.11.01_20211210_R251\r\nCGIVersion=2.5.9\r\nDeviceType=NVR\r\n")
	f.Add(`{"Model":"PNM-C7083RVD","FirmwareVersion":"2.21.01_20220517_R276","ConnectedMACAddress":"00:00:5E:00:53:01","CGIVersion":"2.6.1"}`)
	f.Add(`{"RegisteredCameras":[{"Channel":0,"Model":"XND-C9083RV","IPAddress":"192.0.2.52"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		sound(t, read(sunapiDeviceInfo, body, by((*session).sunapiRead)))
		sound(t, read(sunapiCameras, body, by((*session).sunapiChannels)))
	})
}

func FuzzRCP(f *testing.F) {
	f.Add("<rcp><command><hex>0x0019</hex></command><type>P_UNICODE</type><result><str>00 47 00 61</str></result></rcp>")
	f.Add("<rcp><command/><type>T_DWORD</type><result><dec>5</dec></result></rcp>")
	f.Add("<rcp><command/><type>P_OCTET</type><result><str>00 00 5e 00 53 53</str></result></rcp>")
	f.Fuzz(func(t *testing.T, body string) {
		for _, r := range rcpProtocol.requests {
			sound(t, read(r, body, by((*session).rcpRead)))
		}
	})
}

func FuzzLAPI(f *testing.F) {
	f.Add(`{"Response":{"ResponseCode":0,"Data":{"DeviceModel":"NVR302","SerialNumber":"210235C3EN0000000055","MAC":"00:00:5e:00:53:55"}}}`)
	f.Add(`{"Response":{"ResponseCode":0,"Data":{"DetailInfos":[{"ID":1,"Manufacturer":"HIKVISION","AddressInfo":{"Address":"192.0.2.1"}}],"DeviceInfos":[{"ID":1,"SerialNumber":"a"}]}}}`)
	f.Fuzz(func(t *testing.T, body string) {
		sound(t, read(lapiDeviceInfo, body, func(s *session, a *answer) {
			s.lapiRead(a)
			s.lapiChannels(a)
			s.lapiSerials(a)
		}))
	})
}

func FuzzTVT(f *testing.F) {
	f.Add(`<config xmlns="http://www.ipc.com/ver10"><deviceInfo><brand>a</brand><model><![CDATA[b]]></model><mac>00:00:5e:00:53:58</mac></deviceInfo></config>`)
	f.Add(`<config xmlns="http://www.ipc.com/ver10" errorCode="10"/>`)
	f.Fuzz(func(t *testing.T, body string) { sound(t, read(tvtDeviceInfo, body, by((*session).tvtRead))) })
}

func FuzzLines(f *testing.F) {
	f.Add("system_info_modelname='IB9389-EH'\r\nsystem_info_firmwareversion='IB9389-VVTK-0100e7'\r\n")
	f.Add("MAC=00:00:5E:00:53:59\r\nSERIAL=A\r\nVERSION=1.41\r\nNAME=WV-S2136L\r\n")
	f.Add("ModelName=SRG-X400&Serial=0000060&SoftVersion=3.0.0")
	f.Fuzz(func(t *testing.T, body string) {
		sound(t, read(vivotekParameters, body, by((*session).vivotekRead)))
		sound(t, read(iproInfo, body, by((*session).iproRead)))
		sound(t, read(sonySystem, body, by((*session).sonyRead)))
	})
}

func FuzzReolink(f *testing.F) {
	f.Add(`[{"cmd":"GetDevInfo","code":0,"value":{"DevInfo":{"model":"RLC-822A","buildDay":"build 22041507","firmVer":"v3","type":"NVR"}}}]`)
	f.Add(`[{"cmd":"GetDevInfo","code":1,"error":{"detail":"please login first","rspCode":-6}}]`)
	f.Fuzz(func(t *testing.T, body string) { sound(t, read(reolinkInfo, body, by((*session).reolinkRead))) })
}

func FuzzFoscam(f *testing.F) {
	f.Add("<CGI_Result><result>0</result><productName>FI9831W</productName><mac>00005E005362</mac></CGI_Result>")
	f.Add("<CGI_Result><result>-2</result></CGI_Result>")
	f.Fuzz(func(t *testing.T, body string) { sound(t, read(foscamInfo, body, by((*session).foscamRead))) })
}

func FuzzDahua(f *testing.F) {
	f.Add("table.RemoteDevice.uuid:System_CONFIG_NETCAMERA_INFO_0.Address=192.0.2.1\r\ntable.RemoteDevice[9].DeviceType=a\r\ntable.Network.eth0.PhysicalAddress=00:00:5e:00:53:66")
	f.Add(`{"params":{"encryption":"Default","random":1,"realm":"Login to a"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		sound(t, read(dahuaRemoteDevice, body, func(s *session, a *answer) {
			s.dahuaChallenge(a)
			s.dahuaNetwork(a)
			s.dahuaRemoteDevices(a)
		}))
	})
}

func FuzzISAPIMore(f *testing.F) {
	f.Add(`<InputProxyChannelList><InputProxyChannel><id>1</id><sourceInputPortDescriptor><proxyProtocol>HIKVISION</proxyProtocol><model>a</model></sourceInputPortDescriptor></InputProxyChannel></InputProxyChannelList>`)
	f.Add(`<DeviceCap><inputProxyNums>8</inputProxyNums></DeviceCap>`)
	f.Fuzz(func(t *testing.T, body string) {
		sound(t, read(isapiChannels, body, func(s *session, a *answer) {
			s.isapiCapabilities(a)
			s.isapiChannels(a)
			s.isapiState(a)
		}))
	})
}

func FuzzAxisMore(f *testing.F) {
	f.Add(`{"data":{"systemready":"yes","needsetup":"yes","apiList":[{"id":"custom-firmware-certificate"}]},"apis":{"cert":{}}}`)
	f.Add(`{"data":[{"alias":"Axis device ID","keystore":"TEE0"}]}`)
	f.Add("root.Network.RTSP.Port=554")
	f.Fuzz(func(t *testing.T, body string) {
		for _, r := range axisMore {
			sound(t, read(r, body, func(s *session, a *answer) {
				s.axisReadyRead(a)
				s.axisListRead(a)
				s.axisRTSPRead(a)
				s.axisDiscoverRead(a)
				s.axisCertificatesRead(a)
			}))
		}
	})
}

func FuzzProfiles(f *testing.F) {
	f.Add(envelope(`<GetProfilesResponse><Profiles><Name>a</Name><VideoSourceConfiguration><SourceToken>1</SourceToken></VideoSourceConfiguration></Profiles></GetProfilesResponse>`))
	f.Add(envelope(`<GetServicesResponse><Service><Namespace>http://www.onvif.org/ver10/media/wsdl</Namespace><XAddr>http://a/onvif/media_service</XAddr></Service></GetServicesResponse>`))
	f.Fuzz(func(t *testing.T, body string) {
		for _, r := range []*request{onvifProfiles[0], onvifServices} {
			sound(t, read(r, body, readSOAP))
		}
	})
}

func FuzzRedacted(f *testing.F) {
	f.Add([]byte("a.Password=b\r\n<password>c</password>{\"pwd\":\"d\"} rtsp://e:f@g/"))
	f.Fuzz(func(t *testing.T, body []byte) {
		once := redacted(body)
		if !bytes.Equal(redacted(once), once) {
			t.Errorf("%q is redacted differently a second time", once)
		}
	})
}
