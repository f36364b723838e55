package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"time"
)

// Where new Pods are judged by nobody, and where the no-op is asked about them; ours is asked about all others.
const (
	unwatched = "unwatched"
	noopSpace = "watched-by-noop"
)

// dryRuns makes Pods by dry run through the API server, in turns where no webhook is told of them, where the no-op is, and
// where ours is: the medians, in ms.
func dryRuns(c *cluster, count int) dryRunFigures {
	times := map[string][]time.Duration{}
	for at := range count + warmUp {
		for _, space := range []string{unwatched, noopSpace, namespace(0)} {
			it := pod(space, fmt.Sprintf("dry-%05d", at), claim(0))
			began := time.Now()
			code, said := c.call("POST", "/api/v1/namespaces/"+space+"/pods?dryRun=All", "application/json", it)
			took := time.Since(began)
			stored("a dry run in "+space, code, said)
			if at >= warmUp {
				times[space] = append(times[space], took)
			}
		}
	}
	median := func(of []time.Duration) float64 {
		slices.Sort(of)
		return of[len(of)/2].Seconds() * 1000
	}
	return dryRunFigures{median(times[unwatched]), median(times[noopSpace]), median(times[namespace(0)])}
}

const warmUp = 20

// register tells the API server of a pair of webhooks, as the operator does of ours: new Pods are gated first, then judged.
func register(c *cluster, name, address, certificate string, spaces object) {
	text, err := os.ReadFile(certificate)
	check(err, "the serving certificate")
	bundle := base64.StdEncoding.EncodeToString(text)
	spaces["key"] = "kubernetes.io/metadata.name"
	for _, it := range []struct{ kind, resource, name, path, effects string }{
		{"Mutating", "mutatingwebhookconfigurations", "gates.all.", gatePath, "None"},
		{"Validating", "validatingwebhookconfigurations", "pods.all.", judgePath, "NoneOnDryRun"},
	} {
		path := "/apis/admissionregistration.k8s.io/v1/" + it.resource
		// One that an earlier run left in a cluster that was kept trusts a certificate that is gone.
		c.call("DELETE", path+"/"+name, "application/json", nil)
		c.create(path, object{
			"apiVersion": "admissionregistration.k8s.io/v1", "kind": it.kind + "WebhookConfiguration",
			"metadata": named(name),
			"webhooks": []object{{
				"name": it.name + name + ".dev", "admissionReviewVersions": []string{"v1"}, "sideEffects": it.effects,
				"failurePolicy": "Fail", "timeoutSeconds": 5, "namespaceSelector": object{"matchExpressions": []object{spaces}},
				"clientConfig": object{"url": "https://" + address + it.path, "caBundle": bundle},
				"matchConditions": []object{{
					"name": "not-the-operator", "expression": "request.userInfo.username != 'system:serviceaccount:weighbridge-system:weighbridge-operator'",
				}},
				"rules": []object{{"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "operations": []string{"CREATE"}, "resources": []string{"pods"}}},
			}},
		})
	}
}

// waitForWebhooks waits until the API server asks them: until it refuses a Pod of which the model was refused.
func waitForWebhooks(c *cluster) {
	deadline := time.Now().Add(time.Minute)
	for {
		it := pod(namespace(0), "refused", claim(refusedEvery-1))
		code, _ := c.call("POST", "/api/v1/namespaces/"+namespace(0)+"/pods?dryRun=All", "application/json", it)
		if code == 403 {
			return
		}
		if time.Now().After(deadline) {
			fail("the API server does not ask the webhooks after a minute")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
