package appraise

import (
	"fmt"
	"slices"
	"strings"

	"assay/attest"
)

// The second road to a permit: compliant cameras lock their serial port, and
// that must not cost them the permit (docs/device-identity.md).

// deviceProven is the second road to a permit: the unit proved possession of a
// vendor-certified key, its model is endorsed as enforcing signed boot, by the
// vendor's signature or in the trust store, and nothing on the unit shows that
// it may run other firmware.
func deviceProven(ev *attest.Evidence) bool {
	return holdsDeviceKey(ev) && signedBootEndorsed(ev) && otherFirmware(ev) == ""
}

func holdsDeviceKey(ev *attest.Evidence) bool {
	return slices.ContainsFunc(ev.Claims, func(c attest.Claim) bool {
		return c.Subject == attest.SubjectUnit && c.Name == attest.NameDeviceKey && c.Origin() >= attest.P5
	})
}

func signedBootEndorsed(ev *attest.Evidence) bool {
	return slices.ContainsFunc(ev.Claims, func(c attest.Claim) bool {
		return c.Subject == attest.SubjectFirmware && c.Name == attest.NameSignedBoot && c.Value == "enforced" &&
			(c.Origin() >= attest.P4 || c.Channel == attest.ChannelTrust)
	})
}

// otherFirmware says what shows that the unit may run firmware that its maker
// did not sign: it says so itself, or its boot loader took our commands, which
// can boot anything.
func otherFirmware(ev *attest.Evidence) string {
	for _, c := range ev.Claims {
		switch {
		case c.Name == attest.NameSignedBoot && c.Subject == attest.SubjectFirmware && c.Value != "enforced":
			return fmt.Sprintf("%s says of signed boot: %s", c.Source, c.Value)
		case strings.HasPrefix(c.Channel, "serial:") && strings.HasPrefix(c.Source, "uboot ") && c.Name != "console-lock":
			// What a boot log says was only heard, and a loader that asks for a
			// password took no command.
			return "its boot loader takes commands from the serial console (" + c.Source + ")"
		}
	}
	return ""
}
