package status

// Plan is what a reload would do.
type Plan struct {
	Steps   []PlanStep `json:"steps"`
	Refused bool       `json:"refused"` // a step is impossible while weir runs: the reload would be rejected
	Cuts    int        `json:"cuts"`    // current sessions that would be cut at drain_timeout
}

// PlanStep is one action of a plan.
type PlanStep struct {
	Kind    string `json:"kind"`   // add, change or remove
	Object  string `json:"object"` // runtime, log, admin, listener, cluster, server, check, event or vip
	Cluster string `json:"cluster,omitempty"`
	Name    string `json:"name,omitempty"`
	Text    string `json:"text"`              // the step in one line
	Refused string `json:"refused,omitempty"` // why the step is impossible while weir runs
	Cuts    int    `json:"cuts"`              // current sessions whose listener or server it removes
}
