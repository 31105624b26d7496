package update

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The configuration language of libconfig (its manual, chapter 2), of which
// JSON is nearly a subset: names may be quoted, and the whole may stand in
// braces. @include is not followed.

// setting is a value under its name, and what it holds: a text for a scalar,
// more settings for a group, and for an array or list settings without names.
type setting struct {
	name   string
	text   string
	group  bool
	list   bool
	inside []*setting
}

// child finds a setting of a group.
func (s *setting) child(name string) *setting {
	for _, c := range s.inside {
		if s.group && c.name == name {
			return c
		}
	}
	return nil
}

// value is the text of a scalar in a group, "" when it is not there.
func (s *setting) value(name string) string {
	if c := s.child(name); c != nil {
		return c.text
	}
	return ""
}

const (
	maxConfigDepth = 32
	maxSettings    = 20_000
)

var errConfig = errors.New("neither libconfig nor JSON")

type configReader struct {
	rest  string
	line  int
	count int
}

// parseConfig reads a whole configuration.
func parseConfig(b []byte) (*setting, error) {
	c := &configReader{rest: strings.TrimPrefix(string(b), "\ufeff"), line: 1}
	root := &setting{group: true}
	err := c.skip()
	if err == nil && strings.HasPrefix(c.rest, "{") {
		root, err = c.value("", 0)
	} else if err == nil {
		err = c.settings(root, "", 0)
	}
	if err == nil {
		if err = c.skip(); err == nil && strings.Trim(c.rest, "\x00") != "" {
			err = errors.New("text behind the end")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: line %d: %w", errConfig, c.line, err)
	}
	return root, nil
}

// take drops n bytes of the text.
func (c *configReader) take(n int) string {
	s := c.rest[:n]
	c.line += strings.Count(s, "\n")
	c.rest = c.rest[n:]
	return s
}

// skip drops spaces and comments.
func (c *configReader) skip() error {
	for {
		c.take(len(c.rest) - len(strings.TrimLeft(c.rest, " \t\r\n\f\v")))
		end := "\n"
		switch {
		case strings.HasPrefix(c.rest, "#"), strings.HasPrefix(c.rest, "//"):
		case strings.HasPrefix(c.rest, "/*"):
			end = "*/"
		default:
			return nil
		}
		i := strings.Index(c.rest, end)
		switch {
		case i >= 0:
			c.take(i + len(end))
		case end == "\n":
			c.take(len(c.rest))
		default:
			return errors.New("a comment does not end")
		}
	}
}

// next skips to the next token's first byte; 0 at the end.
func (c *configReader) next() (byte, error) {
	if err := c.skip(); err != nil || c.rest == "" {
		return 0, err
	}
	return c.rest[0], nil
}

// settings reads name = value rows up to the byte that closes them.
func (c *configReader) settings(into *setting, closing string, depth int) error {
	for {
		b, err := c.next()
		switch {
		case err != nil:
			return err
		case closing == "" && (b == 0 && strings.Trim(c.rest, "\x00") == ""):
			return nil
		case b == 0:
			return errors.New("a group does not end")
		case closing != "" && b == closing[0]:
			c.take(1)
			return nil
		case b == ';' || b == ',':
			c.take(1)
			continue
		}
		name, err := c.name()
		if err != nil {
			return err
		}
		if b, err = c.next(); err != nil {
			return err
		}
		if b == '=' || b == ':' {
			c.take(1)
		} else if b != '{' {
			return fmt.Errorf("%.40q has no value", name)
		}
		s, err := c.value(name, depth)
		if err != nil {
			return err
		}
		into.inside = append(into.inside, s)
	}
}

func (c *configReader) name() (string, error) {
	if c.rest[0] == '"' {
		return c.quoted()
	}
	n := strings.IndexFunc(c.rest, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_*.", r))
	})
	if n < 0 {
		n = len(c.rest)
	}
	if n == 0 || n > 256 {
		return "", fmt.Errorf("%.20q is no name", c.rest)
	}
	return c.take(n), nil
}

func (c *configReader) value(name string, depth int) (*setting, error) {
	if depth++; depth > maxConfigDepth {
		return nil, fmt.Errorf("values nested more than %d deep", maxConfigDepth)
	}
	if c.count++; c.count > maxSettings {
		return nil, fmt.Errorf("more than %d values", maxSettings)
	}
	b, err := c.next()
	if err != nil {
		return nil, err
	}
	s := &setting{name: name}
	switch b {
	case 0:
		return nil, fmt.Errorf("%.40q has no value", name)
	case '{':
		c.take(1)
		s.group = true
		return s, c.settings(s, "}", depth)
	case '(', '[':
		c.take(1)
		s.list = true
		return s, c.list(s, map[byte]byte{'(': ')', '[': ']'}[b], depth)
	case '"':
		// Strings that follow each other are one.
		for b == '"' {
			part, err := c.quoted()
			if err != nil {
				return nil, err
			}
			s.text += part
			if b, err = c.next(); err != nil {
				return nil, err
			}
		}
		return s, nil
	}
	n := strings.IndexAny(c.rest, ";,)]}#/ \t\r\n\x00")
	if n < 0 {
		n = len(c.rest)
	}
	s.text = c.take(n)
	return s, scalar(s.text)
}

func (c *configReader) list(into *setting, closing byte, depth int) error {
	for {
		b, err := c.next()
		switch {
		case err != nil:
			return err
		case b == closing:
			c.take(1)
			return nil
		case b == ',':
			c.take(1)
			continue
		}
		s, err := c.value("", depth)
		if err != nil {
			return err
		}
		into.inside = append(into.inside, s)
	}
}

// quoted reads a string with its escapes.
func (c *configReader) quoted() (string, error) {
	var text strings.Builder
	for i := 1; i < len(c.rest); i++ {
		switch b := c.rest[i]; b {
		case '"':
			c.take(i + 1)
			return text.String(), nil
		case '\\':
			i++
			if i == len(c.rest) {
				break
			}
			if at := strings.IndexByte(`nrtfb`, c.rest[i]); at >= 0 {
				text.WriteByte("\n\r\t\f\b"[at])
				continue
			}
			width := map[byte]int{'u': 4, 'x': 2}[c.rest[i]]
			if width == 0 {
				text.WriteByte(c.rest[i])
				continue
			}
			if i+width >= len(c.rest) {
				break
			}
			code, err := strconv.ParseUint(c.rest[i+1:i+1+width], 16, 16)
			if err != nil {
				return "", fmt.Errorf("escape %.6q", c.rest[i-1:])
			}
			text.WriteRune(rune(code))
			i += width
		default:
			text.WriteByte(b)
		}
	}
	return "", errors.New("a string does not end")
}

// scalar accepts numbers and the words of both languages.
func scalar(s string) error {
	switch strings.ToLower(s) {
	case "true", "false", "null":
		return nil
	}
	number := strings.TrimRight(s, "L")
	if _, err := strconv.ParseInt(number, 0, 64); err == nil {
		return nil
	}
	if _, err := strconv.ParseUint(number, 0, 64); err == nil {
		return nil
	}
	if _, err := strconv.ParseFloat(number, 64); err == nil {
		return nil
	}
	return fmt.Errorf("%.20q is no value", s)
}
