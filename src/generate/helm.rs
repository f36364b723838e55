//! Small pieces of Helm's template language that the generated templates share.

/// Where the operator's account is named in a template.
pub(super) const OPERATOR: &str = "{{ .Values.operator.serviceAccount.name }}";
/// Where the webhook's account is named in a template.
pub(super) const WEBHOOK: &str = "{{ .Values.webhook.serviceAccount.name }}";
/// The namespace that the release is installed in.
pub(super) const NAMESPACE: &str = "{{ .Release.Namespace }}";

/// The labels of every object of the chart, below `metadata` of an object.
pub(super) const LABELS: &str = "  labels:\n    {{- include \"weighbridge.labels\" . | nindent 4 }}\n";

/// Text that a template shall print as it is, braces and all.
pub(super) fn literal(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}
