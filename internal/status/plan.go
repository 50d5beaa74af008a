package status

// Plan is what going over to another configuration would do.
type Plan struct {
	Steps   []PlanStep `json:"steps"`
	Refused bool       `json:"refused"` // some step cannot be taken while weir runs, so that none would be
	Cuts    int        `json:"cuts"`    // sessions of now that would be cut if they go on until after drain_timeout
}

// PlanStep is one action of a plan.
type PlanStep struct {
	Kind    string `json:"kind"`   // add, change or remove
	Object  string `json:"object"` // runtime, log, admin, listener, cluster, server or check
	Cluster string `json:"cluster,omitempty"`
	Name    string `json:"name,omitempty"`
	Text    string `json:"text"`              // the step in one line
	Refused string `json:"refused,omitempty"` // why it cannot be taken while weir runs
	Cuts    int    `json:"cuts"`              // sessions of now that it leaves without a listener or a server
}
