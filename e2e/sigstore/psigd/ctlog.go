package main

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	"github.com/google/certificate-transparency-go/trillian/ctfe"
	"github.com/google/certificate-transparency-go/trillian/ctfe/configpb"
	"github.com/google/trillian"
	"github.com/google/trillian/crypto/keys"
	"github.com/google/trillian/crypto/keys/der"
	"github.com/google/trillian/crypto/keyspb"
	"github.com/google/trillian/extension"
	tlog "github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/server/interceptor"
	"github.com/google/trillian/storage/memory"
	"github.com/google/trillian/util/clock"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// serveCertificateLog serves an RFC 6962 log at http://ADDRESS/test, on a Trillian of its own.
func serveCertificateLog(trillianAddress, address, rootsFile, publicKeyFile string) {
	ctx := context.Background()
	client, tree := startTrillian(ctx, trillianAddress)

	keys.RegisterHandler(&keyspb.PrivateKey{}, der.FromProto)
	keyDER, err := x509.MarshalECPrivateKey(newKey(publicKeyFile))
	check(err)
	key, err := anypb.New(&keyspb.PrivateKey{Der: keyDER})
	check(err)
	config, err := ctfe.ValidateLogConfig(&configpb.LogConfig{
		LogId: tree, Prefix: "test", RootsPemFile: []string{rootsFile}, PrivateKey: key, ExtKeyUsages: []string{"CodeSigning"},
	})
	check(err)
	instance, err := ctfe.SetUpInstance(ctx, ctfe.InstanceOptions{
		Validated: config, Client: client, Deadline: 10 * time.Second,
		MetricFactory: monitoring.InertMetricFactory{}, RequestLog: new(ctfe.DefaultRequestLog),
	})
	check(err)
	mux := http.NewServeMux()
	for path, handler := range instance.Handlers {
		mux.Handle(path, handler)
	}
	check(http.ListenAndServe(address, mux))
}

// startTrillian starts the storage of one log in memory, gives a client of it and the log's tree.
func startTrillian(ctx context.Context, address string) (trillian.TrillianLogClient, int64) {
	storage := memory.NewTreeStorage()
	registry := extension.Registry{
		AdminStorage: memory.NewAdminStorage(storage), LogStorage: memory.NewLogStorage(storage, nil),
		QuotaManager: quota.Noop(), MetricFactory: monitoring.InertMetricFactory{},
	}
	grpcServer := grpc.NewServer(grpc.UnaryInterceptor(interceptor.ErrorWrapper))
	trillian.RegisterTrillianAdminServer(grpcServer, admin.New(registry, nil))
	trillian.RegisterTrillianLogServer(grpcServer, server.NewTrillianLogRPCServer(registry, clock.System))
	listener, err := net.Listen("tcp", address)
	check(err)
	go func() { check(grpcServer.Serve(listener)) }()
	sequencer := tlog.OperationInfo{
		Registry: registry, BatchSize: 50, NumWorkers: 1, RunInterval: 100 * time.Millisecond, TimeSource: clock.System,
	}
	go tlog.NewOperationManager(sequencer, tlog.NewSequencerManager(registry, 0)).OperationLoop(ctx)

	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	tree, err := trillian.NewTrillianAdminClient(connection).CreateTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
		TreeState: trillian.TreeState_ACTIVE, TreeType: trillian.TreeType_LOG, MaxRootDuration: durationpb.New(time.Hour),
	}})
	check(err)
	client := trillian.NewTrillianLogClient(connection)
	_, err = client.InitLog(ctx, &trillian.InitLogRequest{LogId: tree.TreeId})
	check(err)
	return client, tree.TreeId
}
