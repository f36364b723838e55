//! The harness of the tests that run on a real Kubernetes.
