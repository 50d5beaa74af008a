// Package status defines the documents of the API as plain data, and the values of the metrics. Values are copies that share no
// pointer with running state. The package imports no other package of weir, so that servers and clients of the API share it.
package status
