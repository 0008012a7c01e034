package master

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rota-dev/rota/job"
)

// Metrics are what a master counts. It is a prometheus.Collector.
type Metrics struct {
	records     *prometheus.CounterVec
	instants    *prometheus.CounterVec
	drainErrors prometheus.Counter
	transit     prometheus.Gauge
	leading     prometheus.Gauge
	skew        prometheus.Collector
}

func newMetrics(v *view) *Metrics {
	return &Metrics{
		skew: skewGauge{v, prometheus.NewDesc("rota_node_clock_skew_seconds",
			"By how much a node's clock is ahead of the leader's; negative: behind.", []string{"node"}, nil)},
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rota_master_records_total", Help: "Records that this master brought into history, by outcome."}, []string{"outcome"}),
		instants: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rota_instants_total", Help: "Instants of timers that this master brought into history, by outcome and the reason why one did not run; reason ran: it did."},
			[]string{"outcome", "reason"}),
		drainErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rota_master_drain_errors_total", Help: "Batches of records that could not be brought into history at once."}),
		transit: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rota_master_records_in_transit", Help: "Records in etcd that wait for history, as the leader sees them."}),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rota_master_leading", Help: "1 while this master leads."}),
	}
}

// Metrics are the master's.
func (m *Master) Metrics() *Metrics { return m.metrics }

// count counts a record that history has stored.
func (m *Metrics) count(r *job.ExecutionRecord) {
	m.records.WithLabelValues(string(r.Outcome)).Inc()
	if n := r.Instants(); n > 0 && r.Trigger.Accounts() {
		m.instants.WithLabelValues(string(r.Outcome), cmp.Or(string(r.Code()), "ran")).Add(float64(n))
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.records, m.instants, m.drainErrors, m.transit, m.leading, m.skew}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(c chan<- *prometheus.Desc) {
	for _, x := range m.all() {
		x.Describe(c)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(c chan<- prometheus.Metric) {
	for _, x := range m.all() {
		x.Collect(c)
	}
}
