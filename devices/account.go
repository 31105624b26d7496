package devices

import "sync"

// Account is a login that the operator gave for a unit. It allows one failure
// in all: cameras lock an account, or an address, after as few as three wrong
// passwords, so a password that one protocol refused is not offered to another.
// A nil Account has no login to offer.
type Account struct {
	user     string
	password string

	mu      sync.Mutex
	refused string
	ledger  Ledger
	again   bool
	offered bool
}

// Ledger remembers over runs which login was offered to which unit. Units are
// named by what is known of them: an address, serial numbers. Its methods may be
// called from several goroutines.
type Ledger interface {
	// Earlier returns an error that says when the user's login was offered to
	// one of the units without being accepted, and until when it must not be
	// offered again, or nil.
	Earlier(user string, units []string) error
	// Offering notes that the login is about to be offered.
	Offering(user string, units []string) error
	// Accepted forgets the offer: it was right, so it counts against nobody.
	Accepted(user string, units []string) error
}

// NewAccount returns an account that has not been tried.
func NewAccount(user, password string) *Account { return &Account{user: user, password: password} }

// Remember makes the account's one failure last over runs. again offers the
// login whatever an earlier run came to.
func (a *Account) Remember(l Ledger, again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ledger, a.again = l, again
}

// Login returns the user and password to offer, or ok false when there is none
// or it was refused before.
func (a *Account) Login() (user, password string, ok bool) {
	if a == nil {
		return "", "", false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.user, a.password, a.refused == ""
}

// TriedBefore reports whether an earlier run offered the login to one of the
// units and did not hear that it was right.
func (a *Account) TriedBefore(units ...string) bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ledger != nil && a.ledger.Earlier(a.user, units) != nil
}

// Offer is called before the login is sent to a unit that has not taken it yet.
// The error says
// why it must not be sent: an earlier run did, within the time for which units
// lock. What cannot be remembered is not sent either.
func (a *Account) Offer(units ...string) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ledger == nil || a.offered {
		return nil
	}
	if err := a.ledger.Earlier(a.user, units); err != nil && !a.again {
		return err
	}
	if err := a.ledger.Offering(a.user, units); err != nil {
		return err
	}
	a.offered = true
	return nil
}

// Accept records that a unit took the login, or did not refuse it.
func (a *Account) Accept(units ...string) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ledger == nil || !a.offered {
		return nil
	}
	a.offered = false
	return a.ledger.Accepted(a.user, units)
}

// Refuse records that by (a protocol and its endpoint) refused the login.
// [Account.Login] offers it no more.
func (a *Account) Refuse(by string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused == "" {
		a.refused = by
	}
}

// Refused returns who refused the login, or the empty string.
func (a *Account) Refused() string {
	if a == nil {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused
}

// String names the user only, so that a password cannot slip into a message.
func (a *Account) String() string {
	if a == nil {
		return "no account"
	}
	return "account " + a.user
}

// GoString is String: %#v must not print the password either.
func (a *Account) GoString() string { return a.String() }
