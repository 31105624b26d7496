//go:build !linux

package sandbox

import (
	"context"
	"io"
)

// Main does nothing: only Linux confines children.
func Main(string, func(*Inside) error) {}

// Run returns [ErrUnavailable].
func (Child) Run(context.Context, func(io.Reader) error) error { return ErrUnavailable }
