package master

// LogFeeds is how many logs the master reads from nodes.
func (m *Master) LogFeeds() int {
	m.logs.mu.Lock()
	defer m.logs.mu.Unlock()
	return len(m.logs.feeds)
}

// LogBytes is what the windows of all feeds cost.
func (m *Master) LogBytes() (n int) {
	m.logs.mu.Lock()
	defer m.logs.mu.Unlock()
	for _, f := range m.logs.feeds {
		n += f.size
	}
	return n
}
