# shellcheck shell=bash disable=SC2154  # The variables are those of common.sh and of the script that sources this.
# Writes what the components read, into the run folder $run. Nothing here starts anything.

configure() {
  mkdir -p "$run"/{pki,log,pids,cni,cni-state,certs.d,volumes,system/{cni,kubelet,containers}}
  make_keys
  local user
  for user in admin controller-manager scheduler proxy node; do write_kubeconfig "$user"; done
  trust_registry "$registry"
  write_audit_policy
  write_containerd
  write_network
  write_kubelet
  write_proxy
}

new_key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }

authority() {
  new_key "$run/pki/$1.key"
  openssl req -x509 -key "$run/pki/$1.key" -out "$run/pki/$1.crt" -subj "/CN=$1" -days 30
}

# certificate AUTHORITY NAME SUBJECT [ALTERNATIVE-NAMES]
certificate() {
  local extensions=extendedKeyUsage=serverAuth,clientAuth
  [ -z "${4:-}" ] || extensions+=$'\n'"subjectAltName=$4"
  new_key "$run/pki/$2.key"
  openssl req -new -key "$run/pki/$2.key" -subj "$3" |
    openssl x509 -req -CA "$run/pki/$1.crt" -CAkey "$run/pki/$1.key" -set_serial "0x$(openssl rand -hex 8)" -days 30 \
      -extfile <(echo "$extensions") -out "$run/pki/$2.crt" 2>/dev/null
}

make_keys() {
  # The aggregation layer has an authority of its own: the API server refuses to start when it is the clients' one,
  # for whoever held a client certificate could then claim to be anybody. Without any, the scheduler and the
  # controller manager log errors for ever.
  authority ca
  authority front-proxy-ca
  # Tokens are signed by RSA, as on nearly every real cluster.
  openssl genrsa -out "$run/pki/sa.key" 2048 2>/dev/null
  openssl rsa -in "$run/pki/sa.key" -pubout -out "$run/pki/sa.pub" 2>/dev/null
  certificate ca apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$api_service,IP:$node_address,DNS:localhost,\
DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate ca admin /O=system:masters/CN=admin
  certificate ca controller-manager /CN=system:kube-controller-manager
  certificate ca scheduler /CN=system:kube-scheduler
  certificate ca proxy /CN=system:kube-proxy
  certificate ca node "/O=system:nodes/CN=system:node:$node_name" "DNS:$node_name,IP:$node_address"
  certificate front-proxy-ca front-proxy /CN=front-proxy
}

# All in one file each, so that it can be copied and still works.
write_kubeconfig() {
  cat >"$run/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters:
  - name: e2e
    cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 "$run/pki/ca.crt")}
users:
  - name: $1
    user: {client-certificate-data: $(base64 -w0 "$run/pki/$1.crt"), client-key-data: $(base64 -w0 "$run/pki/$1.key")}
contexts:
  - name: e2e
    context: {cluster: e2e, user: $1}
current-context: e2e
END
}

# trust_registry HOST: containerd looks here at every pull, so tests can add hosts while it runs.
trust_registry() {
  mkdir -p "$run/certs.d/$1"
  cat >"$run/certs.d/$1/hosts.toml" <<END
server = "http://$1"
[host."http://$1"]
  capabilities = ["pull", "resolve"]
END
}

# Who did what, and whether it was allowed: tests look for requests that were refused and for rights never used.
write_audit_policy() {
  cat >"$run/audit-policy.yaml" <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"]
  - level: Metadata
END
}

write_containerd() {
  # restrict_oom_score_adj: lowering the score below our own is refused in many sandboxes and containers, and every
  # Pod would die of it.
  cat >"$run/containerd.toml" <<END
version = 3
root = "$run/containerd/root"
state = "$run/containerd/state"
[grpc]
  address = "$run/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$run/containerd/opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "$run/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "$run/cni"
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
END
}

write_network() {
  cat >"$run/cni/10-pods.conflist" <<END
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$run/cni-state",
            "ranges": [[{"subnet": "$pod_network"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
}

write_kubelet() {
  # Thresholds: the disk and the memory are the machine's and may be rather full; neither evicting Pods nor deleting
  # images would make room for anything.
  # podLogsDir: kubelets that share the usual one delete each other's logs.
  cat >"$run/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $run/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$(control_group "$name")
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://$run/containerd.sock
podLogsDir: $run/pod-logs
volumePluginDir: $run/volume-plugins
resolvConf: ""
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
tlsCertFile: $run/pki/node.crt
tlsPrivateKeyFile: $run/pki/node.key
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
END
}

write_proxy() {
  # conntrack: its limit is the whole machine's, and not ours to set.
  cat >"$run/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $pod_network
hostnameOverride: $node_name
clientConnection: {kubeconfig: $run/proxy.kubeconfig}
conntrack: {maxPerCore: 0}
END
}
