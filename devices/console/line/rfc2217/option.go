package rfc2217

import (
	"fmt"

	"assay/devices"
)

// side is one side's use of an option. A side that was asked and has not
// answered is asked only once, and an answer is never answered: so two programs
// that disagree cannot go round in circles (RFC 1143).
type side uint8

const (
	off side = iota
	asked
	on
)

// options is who uses which option. Its zero value is the start of a connection.
type options struct {
	ours, theirs [256]side
	seen         int // commands of negotiation received
}

// ask begins to use an option on our side, or wants the server to.
func (o *options) ask(out []byte, verb, option byte) []byte {
	if verb == will {
		o.ours[option] = asked
	} else {
		o.theirs[option] = asked
	}
	return append(out, iac, verb, option)
}

// receive takes one command and appends the answer to out, where one is due.
func (o *options) receive(out []byte, verb, option byte) ([]byte, error) {
	if o.seen++; o.seen > maxNegotiated {
		return out, fmt.Errorf("%w: over %d requests: %w", errEndless, maxNegotiated, devices.ErrHostile)
	}
	switch verb {
	case do:
		return answer(out, &o.ours[option], weUse(option), will, wont, option), nil
	case will:
		return answer(out, &o.theirs[option], theyMayUse(option), do, dont, option), nil
	case dont:
		return withdraw(out, &o.ours[option], wont, option), nil
	default:
		return withdraw(out, &o.theirs[option], dont, option), nil
	}
}

func weUse(option byte) bool {
	return option == optBinary || option == optSGA || option == optComPort
}

// theyMayUse: a console server that says it echoes means the unit behind it.
func theyMayUse(option byte) bool { return weUse(option) || option == optEcho }

func answer(out []byte, s *side, wanted bool, yes, no, option byte) []byte {
	switch {
	case *s == asked:
		*s = on
	case *s == on:
	case wanted:
		*s = on
		return append(out, iac, yes, option)
	default:
		return append(out, iac, no, option)
	}
	return out
}

func withdraw(out []byte, s *side, no, option byte) []byte {
	was := *s
	if *s = off; was == on {
		return append(out, iac, no, option)
	}
	return out
}

// open counts the questions that are not answered.
func (o *options) open() (n int) {
	for i := range o.ours {
		if o.ours[i] == asked {
			n++
		}
		if o.theirs[i] == asked {
			n++
		}
	}
	return n
}
