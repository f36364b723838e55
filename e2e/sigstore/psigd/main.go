// Psigd is what a private Sigstore needs besides Fulcio and Rekor, in one process: a certificate transparency log, a
// timestamp authority and an OIDC issuer that gives a token to whoever asks. Everything is in memory. For tests only.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"log"
	"os"
)

func main() {
	trillian := flag.String("trillian", "127.0.0.1:5502", "where the log's storage listens (gRPC)")
	ct := flag.String("ct", "127.0.0.1:5501", "where the certificate transparency log listens")
	oidc := flag.String("oidc", "127.0.0.1:5503", "where the OIDC issuer listens")
	tsaPort := flag.Int("tsa-port", 5504, "the port that the timestamp authority listens on, on 127.0.0.1")
	roots := flag.String("roots", "root.pem", "the roots of the certificates that the log takes")
	ctKey := flag.String("ct-pub", "ct.pub", "the log's public key is written here")
	flag.Parse()

	go serveTimestamps("127.0.0.1", *tsaPort)
	go serveCertificateLog(*trillian, *ct, *roots, *ctKey)
	serveTokens(*oidc)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// newKey makes a P-256 key; its public half is written to a file, if one is named.
func newKey(publicKeyFile string) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	if publicKeyFile != "" {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		check(err)
		check(os.WriteFile(publicKeyFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644))
	}
	return key
}
