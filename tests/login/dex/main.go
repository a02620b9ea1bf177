// Dex as Kubeflow has it: people of its own (connector "local") and those of an LDAP server, or the first alone.
// Prints its issuer when it listens; ends with its standard input. With the tag "old" it is built with an older Dex.
//
//	dex WEB-FOLDER REDIRECT-URI EMAIL PASSWORD [LDAP-ADDRESS]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/dexidp/dex/connector/ldap"
	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func ldapConnector(address string) storage.Connector {
	config := ldap.Config{Host: address, InsecureNoSSL: true, BindDN: "cn=admin,dc=example,dc=org", BindPW: "admin"}
	config.UserSearch.BaseDN = "ou=people,dc=example,dc=org"
	config.UserSearch.Username = "uid"
	config.UserSearch.IDAttr = "uid"
	config.UserSearch.EmailAttr = "mail"
	config.UserSearch.NameAttr = "cn"
	text, err := json.Marshal(config)
	must(err)
	return storage.Connector{ID: "ldap", Type: "ldap", Name: "LDAP", Config: text}
}

func main() {
	web, redirect, email, password := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	issuer := "http://" + listener.Addr().String() + "/dex"
	logger := newLogger()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	must(err)

	people := []storage.Password{{Email: email, Hash: hash, Username: "somebody", UserID: "1"}}
	clients := []storage.Client{{ID: "kubeflow", Secret: "secret", Name: "Kubeflow", RedirectURIs: []string{redirect}}}
	connectors := []storage.Connector{{ID: server.LocalConnector, Type: server.LocalConnector, Name: "Email"}}
	if len(os.Args) > 5 {
		connectors = append(connectors, ldapConnector(os.Args[5]))
	}
	store := storage.WithStaticPasswords(memory.New(logger), people, logger)
	store = storage.WithStaticConnectors(storage.WithStaticClients(store, clients), connectors)

	dex, err := server.NewServer(context.Background(), server.Config{
		Issuer: issuer, Storage: store, Logger: logger, SkipApprovalScreen: true,
		Web: server.WebConfig{Dir: web}, PrometheusRegistry: prometheus.NewRegistry(),
	})
	must(err)
	go func() { must(http.Serve(listener, dex)) }()
	fmt.Println(issuer)
	_, err = io.Copy(io.Discard, os.Stdin)
	must(err)
}
