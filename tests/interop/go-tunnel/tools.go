//go:build tools

// Package tools names the program that the tests build, so that go.mod and go.sum hold all that it needs.
package tools

import _ "github.com/nknorg/nkn-tunnel/bin"
