// noop is the webhook that ours is measured beside: it takes a review as a webhook in Go does, with the types of
// k8s.io/api and encoding/json, decides nothing, looks into no object, and allows it.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"

	admission "k8s.io/api/admission/v1"
)

// Longest review: the old object and the new one, 3 MiB each, and the rest.
const reviewBytes = 7 << 20

func main() {
	listen := flag.String("listen", "127.0.0.1:9444", "where reviews are answered, over TLS")
	certificate := flag.String("tls-cert", "", "a PEM file with the serving certificate")
	key := flag.String("tls-key", "", "a PEM file with its key")
	flag.Parse()
	http.HandleFunc("POST /validate", allow)
	http.HandleFunc("POST /mutate", allow)
	log.Fatal(http.ListenAndServeTLS(*listen, *certificate, *key, nil))
}

func allow(w http.ResponseWriter, r *http.Request) {
	var review admission.AdmissionReview
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, reviewBytes))
	if err == nil {
		err = json.Unmarshal(body, &review)
	}
	if err != nil || review.Request == nil {
		http.Error(w, "not a review", http.StatusBadRequest)
		return
	}
	review.Response = &admission.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	answer, err := json.Marshal(review)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(answer)
}
