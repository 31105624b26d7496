package fingerprint

import "slices"

// Place names what an [Observation] is of: a protocol and a field of it. Rules
// and grammars look at places by these names, and only these; who reads a
// protocol observes under them.
type Place struct {
	Name    string
	Carries string // the value, as the unit sends it unless it says otherwise
}

// The values of places that name an answer rather than a field are the names of
// its fields, sorted and joined by commas: whose protocol it is shows in what it
// has, and no field's value is needed.
var places = []Place{
	// What several protocols give.
	{"serial", "a serial number of the unit itself; never that of a camera behind it"},
	{"model", "a model name of the unit itself"},
	{"version", "a firmware version, without its build date"},
	{"firmware.string", "a firmware version as it came, with its build date"},
	{"soc", "the name of the system on chip"},
	{"hardware", "a hardware version, board id or platform name"},
	{"xml.namespace", "the XML namespace of any answer"},

	// HTTP.
	{"http.server", "header Server"},
	{"http.title", "the title of a page"},
	{"http.realm", "the realm of a WWW-Authenticate challenge"},
	{"http.p3p", "header P3P"},
	{"http.cookie", "header Set-Cookie"},
	{"http.location", "an address in a start page or a redirect, on the unit itself"},
	{"http.path", "the path of a page that answered with content of its own"},
	{"favicon.mmh3", "MurmurHash3 of the favicon's base64, signed decimal, as search engines index it"},
	{"favicon.md5", "MD5 of the favicon, 32 hexadecimal digits"},

	// TLS.
	{"tls.subject", "subject of the leaf certificate, as Go's pkix.Name writes it"},
	{"tls.issuer", "issuer of the leaf certificate, written likewise"},

	// RTSP.
	{"rtsp.server", "header Server"},
	{"rtsp.realm", "the realm of a WWW-Authenticate challenge"},

	// ONVIF.
	{"onvif.manufacturer", "GetDeviceInformation Manufacturer"},
	{"onvif.model", "GetDeviceInformation Model"},
	{"onvif.scope", "a scope, percent-encoded as it came"},
	{"onvif.hardware-scope", "the value of a hardware scope that is not the model"},

	// Makers' own protocols.
	{"isapi.namespace", "XML namespace of the DeviceInfo document"},
	{"isapi.systemContact", "DeviceInfo systemContact"},
	{"isapi.deviceLocation", "DeviceInfo deviceLocation"},
	{"isapi.deviceID", "DeviceInfo deviceID"},
	{"isapi.deviceType", "DeviceInfo deviceType"},
	{"isapi.firmwareVersionInfo", "DeviceInfo firmwareVersionInfo"},
	{"udp.answer", "the name of a search protocol in whose shape alone the unit answered, as in hanwha"},
	{"sadp.answer", "names of the elements of a SADP ProbeMatch"},
	{"magicbox.getSystemInfo", "keys of magicBox getSystemInfo"},
	{"magicbox.updateSerial", "magicBox updateSerial"},
	{"magicbox.vendor", "magicBox vendor, or Vendor of a DHIP answer"},
	{"dhip.answer", "method of a DHIP answer, as in client.notifyDevInfo"},
	{"dhip.deviceClass", "DeviceClass of a DHIP answer"},
	{"rpc2.challenge", "keys of the parameters of an RPC2 login challenge"},
	{"axis.brand", "basicdeviceinfo Brand"},
	{"axis.answer", "names of the properties of basicdeviceinfo; no rule looks at it: VAPIX is public, and imitated"},
	{"sunapi.answer", "keys of SUNAPI deviceinfo"},
	{"sunapi.deviceType", "SUNAPI DeviceType"},
	{"rcp.answer", "names of the elements of an RCP+ answer"},
	{"vivotek.answer", "keys of Vivotek getparam.cgi"},
	{"lapi.answer", "ResponseURL of a LAPI answer"},
	{"lapi.response", "the path of a LAPI request that was answered"},
	{"tvt.namespace", "XML namespace of a TVT answer"},
	{"tvt.systemType", "systemType in the start page of a TVT recorder"},
	{"ipro.answer", "keys of i-PRO getinfo"},
	{"sony.answer", "keys of Sony inquiry.cgi"},
	{"reolink.answer", "keys of Reolink GetDevInfo DevInfo"},
	{"reolink.hardVer", "Reolink hardVer"},
	{"reolink.baichuan", "the first four bytes of a Baichuan answer, hexadecimal"},
	{"dvrip.answer", "keys of a DVRIP answer"},
	{"dvrip.hardware", "DVRIP HardWare or DeviceModel"},
	{"foscam.answer", "keys of Foscam CGI_Result of getDevInfo"},

	// A camera behind a recorder, which is matched by itself.
	{"child.protocol", "the protocol that a recorder speaks to it"},

	// Other services.
	{"snmp.sysdescr", "sysDescr.0"},
	{"snmp.sysobjectid", "sysObjectID.0 in digits, with or without the first dot"},
	{"upnp.server", "header SERVER of an SSDP answer"},
	{"upnp.deviceType", "deviceType of the UPnP description"},
	{"mdns.instance", "the name of a service's instance"},
	{"xiongmai.answer", "keys of NetWork.NetCommon in an answer to Xiongmai's search"},
	{"ssdp.manufacturer", "manufacturer of the UPnP description"},
	{"ssdp.model", "modelName of the UPnP description"},
	{"mdns.service", "a service type, as in _axis-video._tcp"},
	{"ssh.banner", "the identification string, from SSH- on"},
	{"telnet.banner", "what comes before anything is typed"},
	{"ftp.banner", "the greeting, with or without its code"},

	// The serial console.
	{"uboot.prompt", "the prompt of U-Boot, without blanks around it"},
	{"uboot.banner", "the first line of U-Boot"},
	{"uboot.version", "U-Boot's version"},
	{"console.line", "a line of the boot log"},

	// A Linux shell.
	{"linux.dmesg", "the kernel's log"},
	{"linux.cmdline", "/proc/cmdline"},
	{"linux.modules", "names of the kernel modules, a line each"},
	{"linux.compatible", "compatible strings of the device tree, a line each"},
	{"linux.cpuinfo", "a value of /proc/cpuinfo"},
}

// Places lists every place that rules and grammars may look at.
func Places() []Place { return slices.Clone(places) }

func knownPlace(name string) bool {
	return slices.ContainsFunc(places, func(p Place) bool { return p.Name == name })
}
