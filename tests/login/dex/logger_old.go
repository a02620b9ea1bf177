//go:build old

package main

import "github.com/sirupsen/logrus"

func newLogger() *logrus.Logger { return logrus.New() }
