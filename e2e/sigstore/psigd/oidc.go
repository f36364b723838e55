package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"time"
)

// serveTokens serves an OIDC issuer. POST /mint with claims, as JSON, gives a token with them.
func serveTokens(address string) {
	key := newKey("")
	issuer := "http://" + address
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{
			"issuer": issuer, "jwks_uri": issuer + "/keys",
			"authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", "x": coordinate(key.X), "y": coordinate(key.Y),
		}}})
	})
	mux.HandleFunc("/mint", func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().Unix()
		claims := map[string]any{"iss": issuer, "aud": "sigstore", "iat": now, "nbf": now, "exp": now + 600}
		if err := json.NewDecoder(r.Body).Decode(&claims); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write([]byte(token(key, claims)))
	})
	check(http.ListenAndServe(address, mux))
}

// token gives a JSON web token, signed with ES256 (RFC 7518, 3.4).
func token(key *ecdsa.PrivateKey, claims map[string]any) string {
	header, err := json.Marshal(map[string]string{"alg": "ES256", "kid": "1", "typ": "JWT"})
	check(err)
	payload, err := json.Marshal(claims)
	check(err)
	text := encode(header) + "." + encode(payload)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	check(err)
	return text + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func coordinate(n *big.Int) string { return encode(n.FillBytes(make([]byte, 32))) }

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
