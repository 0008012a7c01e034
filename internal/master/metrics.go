package master

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what a master counts. It is a prometheus.Collector.
type Metrics struct {
	records     *prometheus.CounterVec
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

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.records, m.drainErrors, m.transit, m.leading, m.skew}
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
