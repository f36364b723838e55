//! Metrics: one struct an owner, each field's doc comment is its help text.
//!
//! A struct's `SPECS` are what it registers, as data: a registry cannot be asked, it shows no vector that is empty.

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
/// assert_eq!(KettleMetrics::SPECS[0].labels, ["outcome"]);
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
            /// What the metrics are made from, in the order of the fields.
            $vis const SPECS: &'static [$crate::telemetry::Spec] = &[$($crate::telemetry::Spec {
                name: $metric,
                kind: <$type as $crate::telemetry::Collector>::KIND,
                help: concat!($($help),+).trim_ascii(),
                labels: &[$($($label),*)?],
                buckets: &[$($($bucket),*)?],
            }),+];

            /// Makes the metrics and registers them.
            $vis fn register(registry: &$crate::telemetry::Registry) -> Self {
                let [$($field),+] = Self::SPECS else { unreachable!("each field has its spec") };
                $name { $($field: <$type as $crate::telemetry::Collector>::register(registry, $field),)+ }
            }
        }
    };
}

/// How the values of a metric are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts observations by their size.
    Histogram,
}

impl Kind {
    /// The word that Prometheus has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// What a metric is made from.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// How it is to be read.
    pub kind: Kind,
    /// Its help text.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The upper bounds of a histogram's buckets; empty means those of the library.
    pub buckets: &'static [f64],
}

impl Spec {
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
    /// How such a metric is to be read.
    const KIND: Kind;

    /// Makes one and registers it.
    fn register(registry: &Registry, spec: &Spec) -> Self;
}

fn registered<C: core::Collector + Clone + 'static>(
    registry: &Registry,
    spec: &Spec,
    made: prometheus::Result<C>,
) -> C {
    let register = |metric: C| registry.register(Box::new(metric.clone())).map(|()| metric);
    match made.and_then(register) {
        Ok(metric) => metric,
        Err(error) => panic!("metric {}: {error}", spec.name),
    }
}

macro_rules! collectors {
    ($($kind:ident: $type:ident($($arg:ident),+);)+) => { $(impl Collector for $type {
        const KIND: Kind = Kind::$kind;

        fn register(registry: &Registry, spec: &Spec) -> Self {
            registered(registry, spec, collectors!(@new $type spec $($arg),+))
        }
    })+ };
    (@new $type:ident $spec:ident opts) => { $type::with_opts($spec.opts()) };
    (@new $type:ident $spec:ident opts, labels) => { $type::new($spec.opts(), $spec.labels) };
    (@new $type:ident $spec:ident histogram) => { $type::with_opts($spec.histogram_opts()) };
    (@new $type:ident $spec:ident histogram, labels) => { $type::new($spec.histogram_opts(), $spec.labels) };
}
collectors! {
    Counter: IntCounter(opts);
    Counter: IntCounterVec(opts, labels);
    Gauge: IntGauge(opts);
    Gauge: IntGaugeVec(opts, labels);
    Gauge: Gauge(opts);
    Gauge: GaugeVec(opts, labels);
    Histogram: Histogram(histogram);
    Histogram: HistogramVec(histogram, labels);
}

crate::metrics! {
    /// What every process says of itself.
    struct BuildMetrics {
        /// Always 1; its label says which version of weighbridge runs here.
        info: IntGaugeVec = "weighbridge_build_info" ["version"],
    }
}

/// What [`new_registry`] holds from the start.
pub const PROCESS_METRICS: &[Spec] = BuildMetrics::SPECS;

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

    /// The library names the type of what was registered by itself.
    #[test]
    fn the_kind_is_what_the_library_makes_of_the_type() {
        crate::metrics! {
            /// One of each.
            struct Kinds {
                /// Up.
                counter: IntCounter = "a_total",
                /// Up and down.
                gauge: Gauge = "b",
                /// By size.
                histogram: Histogram = "c",
            }
        }
        let registry = Registry::new();
        let Kinds { counter, gauge, histogram } = Kinds::register(&registry);
        counter.inc();
        gauge.inc();
        histogram.observe(1.0);
        let types: Vec<_> = registry.gather().iter().map(|family| format!("{:?}", family.get_field_type())).collect();
        let kinds: Vec<_> = Kinds::SPECS.iter().map(|spec| spec.kind.as_str().to_uppercase()).collect();
        assert_eq!(types, kinds);
    }

    #[test]
    #[should_panic(expected = "weighbridge_build_info")]
    fn a_name_belongs_to_one_metric() {
        BuildMetrics::register(&new_registry());
    }
}
