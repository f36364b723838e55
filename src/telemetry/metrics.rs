//! Metrics: one struct an owner, each field's doc comment is its help text.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core,
};

/// Declares a struct of metrics that registers itself.
///
/// ```
/// weighbridge::metrics! {
///     /// What the kettle measures.
///     pub struct KettleMetrics {
///         /// Times that water boiled.
///         pub boiled: prometheus::IntCounterVec = "kettle_boiled_total" ["outcome"],
///         /// Seconds until it boiled.
///         pub duration: prometheus::Histogram = "kettle_duration_seconds" buckets [1.0, 60.0],
///     }
/// }
/// let registry = weighbridge::telemetry::Registry::new();
/// let metrics = KettleMetrics::register(&registry);
/// metrics.boiled.with_label_values(&["hot"]).inc();
/// assert_eq!(registry.gather()[0].name(), "kettle_boiled_total");
/// ```
///
/// # Panics
/// `register` panics where two metrics of one registry have the same name: that is a mistake in the program and shows at
/// its first start.
#[macro_export]
macro_rules! metrics {
    ($(#[$doc:meta])* $vis:vis struct $name:ident {
        $($(#[doc = $help:literal])+ $fvis:vis $field:ident : $type:ty = $metric:literal
          $([$($label:literal),*])? $(buckets [$($bucket:expr),*])?,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        $vis struct $name { $($(#[doc = $help])+ $fvis $field: $type,)+ }

        impl $name {
            /// Makes the metrics and registers them.
            $vis fn register(registry: &$crate::telemetry::Registry) -> Self {
                use $crate::telemetry::{Collector as _, Spec};
                $name { $($field: <$type>::register(registry, &Spec {
                    name: $metric,
                    help: concat!($($help),+).trim(),
                    labels: &[$($($label),*)?],
                    buckets: &[$($($bucket),*)?],
                }),)+ }
            }
        }
    };
}

/// What a metric is made from.
#[derive(Debug)]
pub struct Spec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its help text.
    pub help: &'a str,
    /// The names of its labels.
    pub labels: &'a [&'a str],
    /// The upper bounds of a histogram's buckets; empty means those of the library.
    pub buckets: &'a [f64],
}

impl Spec<'_> {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn histogram_opts(&self) -> HistogramOpts {
        let opts = HistogramOpts::new(self.name, self.help);
        if self.buckets.is_empty() { opts } else { opts.buckets(self.buckets.to_vec()) }
    }
}

/// A type of metric that [`metrics!`](crate::metrics) can make.
pub trait Collector: Sized {
    /// Makes one and registers it.
    fn register(registry: &Registry, spec: &Spec<'_>) -> Self;
}

fn registered<C: core::Collector + Clone + 'static>(
    registry: &Registry,
    spec: &Spec<'_>,
    made: prometheus::Result<C>,
) -> C {
    let register = |metric: C| registry.register(Box::new(metric.clone())).map(|()| metric);
    match made.and_then(register) {
        Ok(metric) => metric,
        Err(error) => panic!("metric {}: {error}", spec.name),
    }
}

macro_rules! collectors {
    ($($type:ident($($arg:ident),+);)+) => { $(impl Collector for $type {
        fn register(registry: &Registry, spec: &Spec<'_>) -> Self {
            registered(registry, spec, collectors!(@new $type spec $($arg),+))
        }
    })+ };
    (@new $type:ident $spec:ident opts) => { $type::with_opts($spec.opts()) };
    (@new $type:ident $spec:ident opts, labels) => { $type::new($spec.opts(), $spec.labels) };
    (@new $type:ident $spec:ident histogram) => { $type::with_opts($spec.histogram_opts()) };
    (@new $type:ident $spec:ident histogram, labels) => { $type::new($spec.histogram_opts(), $spec.labels) };
}
collectors! {
    IntCounter(opts);
    IntCounterVec(opts, labels);
    IntGauge(opts);
    IntGaugeVec(opts, labels);
    Gauge(opts);
    GaugeVec(opts, labels);
    Histogram(histogram);
    HistogramVec(histogram, labels);
}

crate::metrics! {
    /// What every process says of itself.
    struct BuildMetrics {
        /// Always 1; its label says which version of weighbridge runs here.
        info: IntGaugeVec = "weighbridge_build_info" ["version"],
    }
}

/// A registry that knows which version runs here.
pub fn new_registry() -> Registry {
    let registry = Registry::new();
    BuildMetrics::register(&registry).info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doc_comment_is_the_help_text() {
        let family = &new_registry().gather()[0];
        assert_eq!(family.name(), "weighbridge_build_info");
        assert_eq!(family.help(), "Always 1; its label says which version of weighbridge runs here.");
    }

    #[test]
    #[should_panic(expected = "weighbridge_build_info")]
    fn a_name_belongs_to_one_metric() {
        BuildMetrics::register(&new_registry());
    }
}
