//go:build !linux

package main

func townProgram() { panic("only Linux has all of 127.0.0.0/8") }
