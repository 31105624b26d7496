package shell

import (
	"strings"
	"testing"
)

func TestNoCommandThatChangesAUnitCanBeTyped(t *testing.T) {
	p := New(nil, Options{})
	for _, command := range []string{
		"echo 'ab''cd'E$?",
		"(echo 'ab''cd'0;dd if=/dev/mtd0ro bs=65536 skip=3 count=1 2>/dev/null|gzip -cf;);echo 'ab''cd'E$?",
		"(for i in 0 1 2;do echo 'ab''cd'0.$i;dd if=/dev/mtdblock12 bs=1024 skip=$i count=1 2>/dev/null|gzip -cf|base64;done;);echo 'ab''cd'E$?",
		"(echo 'ab''cd'0;{ \nfor f in /proc/cpuinfo /etc/*version*;do [ -f $f ]&&{ echo;echo 'ef''gh'$f;cat $f;};done;} 2>/dev/null|gzip -cf;);echo 'ab''cd'E$?",
		"[ -c /dev/tpmrm0 ]&&exec 9<>/dev/tpmrm0;echo 'ab''cd'E$?",
		`({ printf '\200\001';}|dd obs=4096 >&9 2>/dev/null;echo 'ab''cd't;dd bs=4096 count=1 <&9 2>/dev/null|gzip -cf;);echo 'ab''cd'E$?`,
		"exec 9>&-;echo 'ab''cd'E$?",
		"dmesg|sed -n '1,60p'",
		"{ dd if=/dev/mmcblk0boot1 bs=512 skip=1 count=2;dd if=/dev/mtd3 bs=512 skip=0 count=1;} 2>/dev/null|sha256sum;",
	} {
		if err := p.permit(command); err != nil {
			t.Errorf("%q: %v", command, err)
		}
	}
	for _, command := range []string{
		"reboot", "rm -rf /", "dd if=/dev/zero of=/dev/mtd0", "dd of=/dev/mtd0 bs=1 skip=0 count=1", "dd if=/dev/mtd0 bs=1 skip=0 count=1 of=/dev/mtd1",
		"dd if=/dev/mtd0ro bs=1 skip=0 count=1 conv=notrunc", "dd if=/dev/mem bs=1 skip=0 count=1", "dd if=/dev/watchdog bs=1 skip=0 count=1",
		"echo 1 > /proc/sys/kernel/printk", "echo x>/tmp/x", "echo x>>/etc/passwd", "echo x >&9", "cat /etc/passwd", "cat /etc/shadow", "cat /proc/kmsg", "cat /mnt/mtd/Config/Account1",
		"cat /proc/../etc/shadow", "cat $HOME", "cat `reboot`", "echo $(reboot)", "echo \"x\"", "echo a&reboot", "reboot&", "echo a||reboot", "echo 'a';reboot",
		"echo a|sh", "gzip -d", "gzip /etc/passwd", "sed -i 's/a/b/' /etc/passwd", "sed -n '1,2w /etc/passwd'", "tail -f /proc/cpuinfo", "flash_eraseall /dev/mtd0", "dmesg -n 1", "dmesg -c",
		"PATH=/tmp dmesg", "x=1", "exec reboot", "exec 9<>/dev/tpmrm0", "[ -c /dev/tpm0 ]&&exec 9<>/dev/tpmrm0;", "[ -c /dev/mtd0 ]&&exec 9<>/dev/mtd0;", "exec 9>/dev/mtd0",
		"for i in a b;do reboot;done", "for i in 0;do cat /etc/shadow;done", "for f in /etc/shadow;do cat $f;done", "for f in /etc/*;do cat $f;done", "for x in 0;do dmesg;done",
		"while true;do dmesg;done", "if dmesg;then reboot;fi", "stty raw", "echo 'open", "echo 'a\x03'", "echo 'a\x1b[6n'", "cat <<EOF", "dd bs=4096 count=1 <&9 >&9", "cat /proc/cpuinfo >&9",
		"echo a 2>/tmp/x", "echo a 2>&9", "2>/dev/null reboot", "do reboot", "[ -w /etc/passwd ]", "\\reboot", "~/x", "!!", "#", "echo a\rreboot", strings.Repeat("echo a;", 100),
	} {
		if p.permit(command) == nil {
			t.Errorf("%q is permitted", command)
		}
	}
	if p := New(nil, Options{Root: "/bench"}); p.permit("cat /proc/cpuinfo") == nil || p.permit("cat /bench/proc/cpuinfo") != nil {
		t.Error("a path outside of the root is permitted, or one inside is not")
	}
}

func FuzzPermit(f *testing.F) {
	for _, s := range []string{"echo 'ab''cd'E$?", "(for i in 0 1;do dd if=/dev/mtd0ro bs=1 skip=$i count=1 2>/dev/null|gzip -cf;done;)", "echo 'a", "a&&b||c;{ d;}", "exec 9<>/dev/tpmrm0"} {
		f.Add(s)
	}
	p := New(nil, Options{})
	f.Fuzz(func(t *testing.T, command string) {
		if p.permit(command) != nil {
			return
		}
		// What is permitted has none of what could reach beyond it.
		plain := quotes(command)
		for _, bad := range []string{"`", "$(", "||", "\"", "\\", "of=", ">>", "rm ", "reboot", "\x03", "\r"} {
			if strings.Contains(plain, bad) && !strings.Contains(plain, "echo") {
				t.Fatalf("%q with %q", command, bad)
			}
		}
		for _, s := range []string{"2>/dev/null", "2>&1", "exec 9>&-", ">&9", "9<>"} {
			plain = strings.ReplaceAll(plain, s, "")
		}
		if strings.Contains(plain, ">") {
			t.Fatalf("%q writes", command)
		}
	})
}

// quotes takes out what stands between single quotes.
func quotes(s string) string {
	all := strings.Split(s, "'")
	var out strings.Builder
	for i := 0; i < len(all); i += 2 {
		out.WriteString(all[i])
	}
	return out.String()
}
