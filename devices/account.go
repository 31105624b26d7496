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
}

// NewAccount returns an account that has not been tried.
func NewAccount(user, password string) *Account { return &Account{user: user, password: password} }

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

// Refuse records that by (a protocol and its endpoint) refused the login.
// [Account.Login] offers it no more.
func (a *Account) Refuse(by string) {
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
