package promotion

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"
)

func TestObjectIsOfItsSource(t *testing.T) {
	source, err := os.ReadFile("bpf/forward.c")
	require.NoError(t, err)
	recorded, err := os.ReadFile("bpf/forward.sha256")
	require.NoError(t, err)
	sum := sha256.Sum256(source)
	require.Equal(t, hex.EncodeToString(sum[:]), strings.Fields(string(recorded))[0], "bpf/forward.c has changed: run go generate")
}

// The structs of Go have the size and the offsets that the object's type information gives.
func TestLayoutMatchesObject(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	require.NoError(t, err)
	offsets := func(typ btf.Type) (size uint32, members map[string]uint32) {
		s := btf.UnderlyingType(typ).(*btf.Struct)
		members = map[string]uint32{}
		for _, m := range s.Members {
			members[m.Name] = uint32(m.Offset) / 8
		}
		return s.Size, members
	}

	size, at := offsets(spec.Maps["keys"].Key)
	var k key
	require.EqualValues(t, size, unsafe.Sizeof(k))
	require.EqualValues(t, at["dest"], unsafe.Offsetof(k.Dest))
	require.EqualValues(t, at["source_port"], unsafe.Offsetof(k.SourcePort))
	require.EqualValues(t, at["dest_port"], unsafe.Offsetof(k.DestPort))
	require.EqualValues(t, at["protocol"], unsafe.Offsetof(k.Protocol))

	size, at = offsets(spec.Maps["sessions"].Value)
	var r record
	require.EqualValues(t, size, unsafe.Sizeof(r))
	require.EqualValues(t, at["state"], unsafe.Offsetof(r.state))
	require.EqualValues(t, at["inside"], unsafe.Offsetof(r.inside))
	require.EqualValues(t, at["direction"], unsafe.Offsetof(r.directions))

	session := btf.UnderlyingType(spec.Maps["sessions"].Value).(*btf.Struct)
	for _, m := range session.Members {
		if m.Name == "direction" {
			size, at = offsets(m.Type.(*btf.Array).Type)
		}
	}
	var d direction
	require.EqualValues(t, size, unsafe.Sizeof(d))
	for name, offset := range map[string]uintptr{
		"source": unsafe.Offsetof(d.source), "dest": unsafe.Offsetof(d.dest), "source_port": unsafe.Offsetof(d.sourcePort), "dest_port": unsafe.Offsetof(d.destPort),
		"arrives": unsafe.Offsetof(d.arrives), "leaves": unsafe.Offsetof(d.leaves), "packets": unsafe.Offsetof(d.packets), "bytes": unsafe.Offsetof(d.bytes), "last": unsafe.Offsetof(d.last),
	} {
		require.EqualValues(t, at[name], offset, name)
	}
}
