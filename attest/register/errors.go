package register

import (
	"errors"

	"assay/internal/database"
)

// What a register refuses or cannot do. Tell them apart with errors.Is.
var (
	ErrNewer      = database.ErrNewer
	ErrBusy       = database.ErrBusy
	ErrReadOnly   = database.ErrReadOnly
	ErrFull       = database.ErrFull
	ErrDamaged    = database.ErrDamaged
	ErrNotFound   = errors.New("no such permit in the register")
	ErrIncomplete = errors.New("entry does not hold together")
)

// explain puts a reason that a person can act upon before the driver's words.
func explain(err error) error { return database.Explain(err, ErrNotFound, ErrIncomplete) }
