//go:build !old

package main

import (
	"log/slog"
	"os"
)

func newLogger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }
