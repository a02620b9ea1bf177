//go:build tools

package login

import _ "github.com/oauth2-proxy/oauth2-proxy/v7"
