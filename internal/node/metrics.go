package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rota-dev/rota/job"
)

// Metrics are what an agent counts. It is a prometheus.Collector.
type Metrics struct {
	records    *prometheus.CounterVec
	lateness   prometheus.Histogram
	claims     *prometheus.CounterVec
	leasesLost prometheus.Counter
	running    prometheus.Gauge
	refused    prometheus.Counter
	waiting    prometheus.GaugeFunc
	refusing   prometheus.GaugeFunc
}

func newMetrics(s *spool) *Metrics {
	return &Metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rota_node_records_total", Help: "Records that the node made, by outcome."}, []string{"outcome"}),
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rota_node_start_lateness_seconds", Help: "How long after its instant a timer's run began.",
			Buckets: []float64{.001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600}}),
		claims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rota_node_claims_total", Help: "Claims of instants, by how they ended."}, []string{"result"}),
		leasesLost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rota_node_leases_lost_total", Help: "How often the node's lease lapsed while the agent lived."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rota_node_refused_total", Help: "Executions that the node's own policy refused."}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rota_node_running", Help: "Runs that are alive."}),
		waiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rota_node_spool_records", Help: "Records in the spool that wait to be handed over."},
			func() float64 { return float64(s.waiting()) }),
		refusing: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rota_node_spool_refused", Help: "1 while the spool's disk refuses to be written (it is full, say), and records are kept in memory."},
			func() float64 {
				if s.refused() != nil {
					return 1
				}
				return 0
			}),
	}
}

// Metrics are the agent's.
func (a *Agent) Metrics() *Metrics { return a.metrics }

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.records, m.lateness, m.claims, m.leasesLost, m.running, m.refused, m.waiting, m.refusing}
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

func (m *Metrics) outcome(rec *job.ExecutionRecord) {
	m.records.WithLabelValues(string(rec.Outcome)).Add(float64(max(rec.Count, 1)))
}

func (m *Metrics) late(d time.Duration) { m.lateness.Observe(max(d, 0).Seconds()) }
