package engine

import "weir/internal/sessionlog"

// sessionLogSettings returns what the configuration in force wants of session records.
func (e *Engine) sessionLogSettings() sessionlog.Settings {
	cfg := e.running.Load().cfg
	if cfg == nil {
		return sessionlog.Settings{}
	}
	return sessionlog.Settings{JSON: cfg.Log.Format == "json", All: cfg.Log.Sessions == "all"}
}
