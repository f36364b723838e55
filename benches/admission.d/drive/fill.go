package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"time"
)

// The cluster that is measured in: so many namespaces, each of a team of its own, with claims, a record for each claim,
// and Pods that wait for ever.
type scale struct{ namespaces, claims, pods, policies int }

const (
	ourNamespace = "weighbridge-system"
	driver       = "ebs.csi.aws.com"
	keyFile      = "release.pub"
	// Every so many claims, one holds a model that was refused.
	refusedEvery = 10
	// So many of the policies select every team's namespaces; each other one those of one team.
	wide = 3
	// A store is named by so many digits of the hash of what it is, behind "store-".
	storeNameLength = len("store-") + 20
)

func namespace(at int) string { return fmt.Sprintf("team-%02d", at) }
func claim(at int) string     { return fmt.Sprintf("model-%03d", at) }
func isRefused(at int) bool   { return at%refusedEvery == refusedEvery-1 }

// fill makes the objects of one stage; what is there already stays.
func fill(c *cluster, size scale, stage string) {
	switch stage {
	case "namespaces":
		fillNamespaces(c, size)
	case "claims":
		fillClaims(c, size)
	case "records":
		fillRecords(c, size, releaseKey())
	case "policies":
		fillPolicies(c, size, releaseKey())
	case "pods":
		fillPods(c, size)
	default:
		fail("no stage %s", stage)
	}
}

// publicKey is one that signed all models, so it is said.
type publicKey struct{ pem, fingerprint string }

// releaseKey is the same in all stages.
func releaseKey() publicKey {
	var der []byte
	if file, err := os.ReadFile(keyFile); err == nil {
		block, _ := pem.Decode(file)
		der = block.Bytes
	} else {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(err, "a key")
		der, err = x509.MarshalPKIXPublicKey(&key.PublicKey)
		check(err, "a key")
		check(os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644), keyFile)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return publicKey{string(text), fmt.Sprintf("sha256:%x", sha256.Sum256(der))}
}

func named(name string) object { return object{"name": name} }

func fillNamespaces(c *cluster, size scale) {
	c.create("/api/v1/namespaces", object{"metadata": named(ourNamespace)})
	// While somebody else leads, an operator follows the cluster and does nothing about it.
	c.create("/apis/coordination.k8s.io/v1/namespaces/"+ourNamespace+"/leases", object{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": named("weighbridge-operator"),
		"spec": object{
			"holderIdentity": "somebody-else", "leaseDurationSeconds": 24 * 60 * 60,
			"renewTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"),
		},
	})
	each(size.namespaces, func(at int) {
		labels := object{"tier": "production", "team": namespace(at)}
		c.create("/api/v1/namespaces", object{"metadata": object{"name": namespace(at), "labels": labels}})
	})
	// The same again for Pods about which nobody is asked, or the no-op.
	for _, name := range []string{unwatched, noopSpace} {
		c.create("/api/v1/namespaces", object{"metadata": named(name)})
	}
	deadline := time.Now().Add(time.Minute)
	for _, name := range []string{namespace(size.namespaces - 1), unwatched, noopSpace} {
		for {
			code, _ := c.call("GET", "/api/v1/namespaces/"+name+"/serviceaccounts/default", "application/json", nil)
			if code == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				fail("namespace %s has no service account after a minute", name)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// Volumes as a driver for block storage makes them, bound by hand: nobody but us binds anything here.
func fillClaims(c *cluster, size scale) {
	each(size.namespaces*size.claims, func(at int) {
		space, name := namespace(at/size.claims), claim(at%size.claims)
		volume := "pv-" + space + "-" + name
		capacity, modes := object{"storage": "100Gi"}, []string{"ReadWriteOnce"}
		made := c.create("/api/v1/namespaces/"+space+"/persistentvolumeclaims", object{
			"metadata": object{"name": name, "labels": object{"app.kubernetes.io/part-of": "inference", "model": name}},
			"spec": object{
				"accessModes": modes, "resources": object{"requests": capacity}, "storageClassName": "fast", "volumeName": volume,
			},
		})
		c.create("/api/v1/persistentvolumes", object{
			"metadata": object{"name": volume, "annotations": object{"pv.kubernetes.io/provisioned-by": driver}},
			"spec": object{
				"accessModes": modes, "capacity": capacity, "storageClassName": "fast",
				"csi":      object{"driver": driver, "volumeHandle": handle(space, name), "fsType": "ext4"},
				"claimRef": object{"kind": "PersistentVolumeClaim", "namespace": space, "name": name, "uid": uid(made)},
			},
		})
		bound := object{"status": object{"phase": "Bound", "accessModes": modes, "capacity": capacity}}
		c.patch("/api/v1/namespaces/"+space+"/persistentvolumeclaims/"+name+"/status", bound)
	})
}

func handle(space, name string) string { return "vol-" + space + "-" + name }

const records = "/apis/weighbridge.dev/v1alpha1/namespaces/%s/modelverifications"

func fillRecords(c *cluster, size scale, key publicKey) {
	each(size.namespaces*size.claims, func(at int) {
		space, name := namespace(at/size.claims), claim(at%size.claims)
		volume := "pv-" + space + "-" + name
		of := c.get("/api/v1/namespaces/" + space + "/persistentvolumeclaims/" + name)
		pv := c.get("/api/v1/persistentvolumes/" + volume)
		path := fmt.Sprintf(records, space)
		whole := sha256.Sum256([]byte(name + "\x00\x00volume:"))
		record := fmt.Sprintf("%s-%x", name, whole)[:len(name)+11]
		c.create(path, object{
			"apiVersion": "weighbridge.dev/v1alpha1", "kind": "ModelVerification",
			"metadata": object{
				"name":        record,
				"annotations": object{"weighbridge.dev/created-by": "operator"},
				"ownerReferences": []object{{
					"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name, "uid": uid(of),
				}},
			},
			"spec": object{"source": object{"claim": object{"name": name, "path": ""}}, "signature": "volume:"},
		})
		c.patch(path+"/"+record+"/status", object{"status": status(space, name, volume, uid(of), uid(pv), key.fingerprint, isRefused(at))})
	})
}

// status is what the operator writes after it has read a model of four shards.
func status(space, name, volume, claimUID, volumeUID, fingerprint string, refused bool) object {
	store := sha256.Sum256([]byte("csi:" + driver + "/" + handle(space, name)))
	now := time.Now().UTC().Format(time.RFC3339)
	model := object{
		"path": "", "verdict": "Verified", "files": 12, "bytes": 16_060_556_376, "bundle": "model.sig",
		"modelDigest":     fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))),
		"manifestDigest":  fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(volume))),
		"contentVerified": true, "signatureVerified": true,
		"signers": []object{{"kind": "Key", "fingerprint": fingerprint}},
	}
	verified, reason := "True", "Verified"
	if refused {
		model["verdict"], model["reason"], model["contentVerified"] = "Refused", "ContentMismatch", false
		model["message"] = "model-00001-of-00004.safetensors is not the file that was signed; sign the model again or restore it"
		verified, reason = "False", "ContentMismatch"
	}
	condition := func(kind, status, reason string) object {
		return object{"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": now, "observedGeneration": 1}
	}
	return object{
		"observedGeneration": 1,
		"conditions":         []object{condition("Accepted", "True", "Accepted"), condition("Verified", verified, reason)},
		"source": object{
			"namespace": space, "claimUid": claimUID, "volumeName": volume, "volumeUid": volumeUID, "path": "",
			"store": fmt.Sprintf("store-%x", store)[:storeNameLength], "writeEpoch": 0,
		},
		"verifiedAt": now, "lastDurationSeconds": 41,
		"trust":  []string{"key " + fingerprint},
		"models": []object{model},
	}
}

func fillPolicies(c *cluster, size scale, key publicKey) {
	each(size.policies, func(at int) {
		labels := object{"tier": "production"}
		if at >= wide {
			labels = object{"team": namespace((at - wide) % max(size.namespaces, size.policies-wide))}
		}
		spec := object{
			"match":             object{"namespaceSelector": object{"matchLabels": labels}},
			"validationActions": []string{"Deny"},
			"authorities":       []object{{"name": "release-key", "key": object{"data": key.pem}}},
		}
		switch {
		case at == 1:
			spec["validationActions"] = []string{"Audit"}
			spec["match"].(object)["exclude"] = []object{{"storageClasses": []string{"scratch"}}, {"mountPaths": []string{"/cache/**"}}}
		case at == 2:
			spec["match"].(object)["models"] = []object{{"mountPaths": []string{"/models/**"}}, {"uris": []string{"hf://**"}}}
		case at%4 == 0:
			selector := object{"matchLabels": object{"app.kubernetes.io/part-of": "inference"}}
			spec["match"].(object)["models"] = []object{{"claims": object{"selector": selector}}}
		}
		c.create("/apis/weighbridge.dev/v1alpha1/clustermodelpolicies", object{
			"apiVersion": "weighbridge.dev/v1alpha1", "kind": "ClusterModelPolicy",
			"metadata": named(fmt.Sprintf("policy-%02d", at)), "spec": spec,
		})
	})
}

// Pods that stay as they are: a gate that nobody lifts keeps them from being scheduled.
func fillPods(c *cluster, size scale) {
	each(size.namespaces*size.pods, func(at int) {
		space := namespace(at / size.pods)
		pod := pod(space, fmt.Sprintf("server-%03d", at%size.pods), claim(at%max(size.claims, 1)))
		pod["spec"].(object)["schedulingGates"] = []object{{"name": "example.com/never"}}
		c.create("/api/v1/namespaces/"+space+"/pods", pod)
	})
}

func print(it any) {
	text, err := json.Marshal(it)
	check(err, "output")
	fmt.Println(string(text))
}
