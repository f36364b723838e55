package main

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
)

// A server and its exporter, with a model, a cache and what the API server adds: 2 containers, 3 volumes.
//
//go:embed pod.json
var podText []byte

// pod is such a Pod that uses a claim.
func pod(space, name, claim string) (it object) {
	check(json.Unmarshal(podText, &it), "pod.json")
	metadata, spec := it["metadata"].(object), it["spec"].(object)
	metadata["name"], metadata["namespace"] = name, space
	model := spec["volumes"].([]any)[0].(object)
	model["persistentVolumeClaim"].(object)["claimName"] = claim
	return it
}

// review is a request to a webhook, and what must be answered.
type review struct {
	text    []byte
	uid     int // where in the text the uid lies, which is another in each request
	allowed bool
}

const anyUID = "00000000-0000-0000-0000-000000000000"

// newReview is what an API server sends when a controller makes a Pod that uses a claim.
func newReview(space, name, claim string, allowed bool) review {
	it := pod(space, name, claim)
	metadata := it["metadata"].(object)
	metadata["uid"], metadata["creationTimestamp"] = "5b0c9f3e-7d2a-4a7e-8a43-1f0f2f3b9a11", "2026-03-01T10:00:00Z"
	metadata["ownerReferences"] = []object{{
		"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "llama-5d4f8c7b9d", "controller": true,
		"blockOwnerDeletion": true, "uid": "0d4a2d0c-6c0e-4a3e-9d0e-2f6b7c8d9e0f",
	}}
	metadata["managedFields"] = []object{{
		"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-03-01T10:00:00Z",
		"fieldsType": "FieldsV1", "fieldsV1": fields(object{"metadata": metadata["labels"], "spec": it["spec"]}, 4),
	}}
	version := func(field, value string) object { return object{"group": "", "version": "v1", field: value} }
	text, err := json.Marshal(object{
		"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
		"request": object{
			"uid": anyUID, "kind": version("kind", "Pod"), "resource": version("resource", "pods"),
			"requestKind": version("kind", "Pod"), "requestResource": version("resource", "pods"),
			"name": name, "namespace": space, "operation": "CREATE", "dryRun": false, "oldObject": nil,
			"userInfo": object{
				"username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "f2b0c6d2-0f2c-4f38-8b1b-6a1f3f1f0c11",
				"groups": []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
			},
			"object":  it,
			"options": object{"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
		},
	})
	check(err, "a review")
	return review{text: text, uid: bytes.Index(text, []byte(anyUID)), allowed: allowed}
}

// fields is how managed fields name what was set, down to a depth. Items of lists go by their names.
func fields(it any, depth int) object {
	named := object{}
	if depth == 0 {
		return named
	}
	switch it := it.(type) {
	case object:
		for name, value := range it {
			named["f:"+name] = fields(value, depth-1)
		}
	case []any:
		for _, item := range it {
			if item, ok := item.(object); ok && item["name"] != nil {
				named[fmt.Sprintf(`k:{"name":%q}`, item["name"])] = fields(item, depth-1)
			}
		}
	}
	return named
}

// newReviews are such requests from all namespaces; of each ten one must be refused.
func newReviews(size scale) (all []review) {
	several := min(size.claims, refusedEvery)
	for at := range size.namespaces * several {
		space, which := at/several, at%several
		name := fmt.Sprintf("llama-5d4f8c7b9d-%05d", at)
		all = append(all, newReview(namespace(space), name, claim(which), !isRefused(which)))
	}
	return all
}

// clone is the same request, for somebody who gives it uids of its own.
func (r review) clone() review { return review{slices.Clone(r.text), r.uid, r.allowed} }

// fresh gives the request another uid, and says which.
func (r *review) fresh() []byte {
	uid := r.text[r.uid : r.uid+len(anyUID)]
	var random [16]byte
	rand.Read(random[:])
	copy(uid, fmt.Appendf(nil, "%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:]))
	return uid
}
