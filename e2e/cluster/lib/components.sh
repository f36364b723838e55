# shellcheck shell=bash disable=SC2154  # The variables are those of common.sh and of the script that sources this.
# The programs that make the cluster: how each is started, how it is known to work, and how it is ended. All of it
# happens inside, where $run is the run folder and the programs are in PATH.

# In the order of starting.
components=(etcd kube-apiserver containerd registry kube-controller-manager kube-scheduler kubelet kube-proxy)

# command_of COMPONENT: fills the array `command`. The only place that knows a command line.
command_of() {
  local kubeconfig pki=$run/pki
  case $1 in
    etcd)
      # Its data is thrown away: no need to wait for the disk.
      command=(k8s etcd --data-dir "$run/etcd" --unsafe-no-fsync
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
        --listen-peer-urls http://127.0.0.1:2380) ;;
    kube-apiserver)
      # shellcheck disable=SC2054  # The commas are the API server's.
      # InternalIP: else `logs` and `exec` look up the node's name, which no DNS knows.
      # Audit events are written before the answer is sent, so a test that has the answer finds them.
      command=(k8s kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address="$node_address"
        --service-cluster-ip-range="$service_network" --allow-privileged=true
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --enable-aggregator-routing=true
        --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
        --client-ca-file="$pki/ca.crt"
        --service-account-issuer=https://kubernetes.default.svc
        --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key"
        --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt"
        --kubelet-client-key="$pki/apiserver-kubelet-client.key"
        --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP
        --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy
        --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
        --requestheader-extra-headers-prefix=X-Remote-Extra-
        --proxy-client-cert-file="$pki/front-proxy.crt" --proxy-client-key-file="$pki/front-proxy.key"
        --audit-policy-file="$run/audit-policy.yaml" --audit-log-path="$run/log/audit.log"
        --audit-log-mode=blocking --audit-log-maxsize=0) ;;
    containerd) command=(containerd -c "$run/containerd.toml") ;;
    registry) command=(registry --address "$registry" --blobs "$run/registry") ;;
    kube-controller-manager)
      kubeconfig=$run/controller-manager.kubeconfig
      # At its usual 20 requests a second it takes five seconds to start, of which the node waits four.
      command=(k8s kube-controller-manager --leader-elect=false --use-service-account-credentials=true
        --kube-api-qps=1000 --kube-api-burst=1000
        --kubeconfig="$kubeconfig" --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig"
        --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt") ;;
    kube-scheduler)
      kubeconfig=$run/scheduler.kubeconfig
      command=(k8s kube-scheduler --leader-elect=false
        --kubeconfig="$kubeconfig" --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig") ;;
    kubelet)
      command=(k8s kubelet --kubeconfig="$run/node.kubeconfig" --config="$run/kubelet.yaml"
        --hostname-override="$node_name" --node-ip="$node_address" --root-dir="$run/kubelet") ;;
    kube-proxy) command=(k8s kube-proxy --config="$run/proxy.yaml") ;;
    *) die "no component $1; there are: ${components[*]}" ;;
  esac
}

# works COMPONENT: true if it answers.
works() {
  local get=(curl -fsS --max-time 2 -o /dev/null --cacert "$run/pki/ca.crt")
  case $1 in
    etcd) "${get[@]}" http://127.0.0.1:2379/health ;;
    kube-apiserver) "${get[@]}" https://127.0.0.1:6443/readyz ;;
    containerd) ctr -a "$run/containerd.sock" --connect-timeout 2s version ;;
    registry) "${get[@]}" "http://$registry/v2/" ;;
    # These two make a serving certificate for themselves at each start.
    kube-controller-manager) "${get[@]}" --insecure https://127.0.0.1:10257/healthz ;;
    kube-scheduler) "${get[@]}" --insecure https://127.0.0.1:10259/healthz ;;
    kubelet) "${get[@]}" http://127.0.0.1:10248/healthz ;;
    # 10256, the node's health, waits for the API server; the metrics port tells of the process alone.
    kube-proxy) "${get[@]}" http://127.0.0.1:10249/healthz ;;
  esac
}

process_of() { live_process "$run/pids/$1"; }

launch() {
  local command
  command_of "$1"
  ! process_of "$1" >/dev/null || return 0
  # A session of its own: the end of the terminal or of the script that started it is not its end.
  setsid "${command[@]}" </dev/null >>"$run/log/$1.log" 2>&1 9>&- &
  record_process "$run/pids/$1" $!
}

# await COMPONENT: until it works, at most a minute; at once when it has ended.
await() {
  local deadline=$((SECONDS + 60))
  until works "$1" >/dev/null 2>&1; do
    if ! process_of "$1" >/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      say "$1 does not work; the end of $run/log/$1.log:"
      tail -n 15 "$run/log/$1.log" >&2 || true
      return 1
    fi
    sleep 0.1
  done
}

# end COMPONENT SIGNAL: returns when it has gone. One that does not go by itself within 20 s is killed.
end() {
  local pid
  pid=$(process_of "$1") || return 0
  # A stopped process would not see the signal.
  kill "-$2" "$pid" || return 0
  kill -CONT "$pid" 2>/dev/null || true
  within 20 gone "$pid" || { kill -KILL "$pid" && within 10 gone "$pid"; }
}
