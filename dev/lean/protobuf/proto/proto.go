// Package proto is what etcd's client uses of protobuf's old interface: see
// dev/lean.
package proto

import (
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/runtime/protoiface"
	"google.golang.org/protobuf/runtime/protoimpl"
)

// Message is a message of either interface.
type Message = protoiface.MessageV1

// Merge merges src into dst, which must be of the same type.
func Merge(dst, src Message) {
	proto.Merge(protoimpl.X.ProtoMessageV2Of(dst), protoimpl.X.ProtoMessageV2Of(src))
}

// CompactTextString is m on one line.
func CompactTextString(m Message) string {
	return prototext.MarshalOptions{}.Format(protoimpl.X.ProtoMessageV2Of(m))
}
