package etcd

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/encoding/protowire"
)

// Who answers behind an endpoint is asked by a watch that cannot be: of no keys, for
// proxies up to 3.4, and from a revision before all. Whatever the answer, which needs
// no user, etcd's own bears the ids of a member and its cluster, and that of a
// grpc-proxy none. The messages are made and read by hand: what protobuf needs to
// work out of those of a watch would cost every start.

// whoQuestion is the WatchRequest.
func whoQuestion() []byte {
	var create []byte
	create = protowire.AppendString(protowire.AppendTag(create, 1, protowire.BytesType), "a")         // key
	create = protowire.AppendString(protowire.AppendTag(create, 2, protowire.BytesType), "a")         // range_end
	create = protowire.AppendVarint(protowire.AppendTag(create, 3, protowire.VarintType), ^uint64(0)) // start_revision
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), create)
}

// whoAnswer is what counts of the WatchResponse.
type whoAnswer struct{ header pb.ResponseHeader }

// GetHeader returns the header, as of every answer of etcd's.
func (a *whoAnswer) GetHeader() *pb.ResponseHeader { return &a.header }

func (a *whoAnswer) parse(message []byte) error {
	header, err := field(message, 1)
	if err != nil {
		return err
	}
	for len(header) > 0 {
		n, kind, size := protowire.ConsumeTag(header)
		if size < 0 || kind != protowire.VarintType {
			return errors.New("a header that is none of etcd's")
		}
		v, vsize := protowire.ConsumeVarint(header[size:])
		if vsize < 0 {
			return protowire.ParseError(vsize)
		}
		header = header[size+vsize:]
		switch n {
		case 1:
			a.header.ClusterId = v
		case 2:
			a.header.MemberId = v
		}
	}
	return nil
}

// field returns a field of a message that is a message itself, empty if there is none.
func field(message []byte, number protowire.Number) ([]byte, error) {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		message = message[size:]
		if n == number && kind == protowire.BytesType {
			v, size := protowire.ConsumeBytes(message)
			if size < 0 {
				return nil, protowire.ParseError(size)
			}
			return v, nil
		}
		if size = protowire.ConsumeFieldValue(n, kind, message); size < 0 {
			return nil, protowire.ParseError(size)
		}
		message = message[size:]
	}
	return nil, nil
}

// askWho asks over a connection of gRPC's, and returns that one's number, too.
func askWho(ctx context.Context, conn *grpc.ClientConn) (_ *pb.ResponseHeader, number int64, _ error) {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, pb.Watch_Watch_FullMethodName, grpc.ForceCodecV2(byHand{}))
	if err != nil {
		return nil, 0, err
	}
	if err := s.SendMsg(whoQuestion()); err != nil && !errors.Is(err, io.EOF) { // then the answer tells why
		return nil, 0, err
	}
	var a whoAnswer
	if err := s.RecvMsg(&a); err != nil {
		return nil, 0, err
	}
	p, _ := peer.FromContext(s.Context())
	return &a.header, connectionOf(p), nil
}

// byHand is a codec of gRPC's for the two messages.
type byHand struct{}

// Marshal is gRPC's.
func (byHand) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal is gRPC's.
func (byHand) Unmarshal(data mem.BufferSlice, v any) error {
	return v.(*whoAnswer).parse(data.Materialize())
}

// Name is gRPC's: to the server these are messages like others.
func (byHand) Name() string { return proto.Name }

// greet asks over a connection of its own, which is a tenth of the work of one of
// gRPC's, and one round trip less: nothing is waited for before the question.
// connected is called once there is the connection.
func (m *Member) greet(ctx context.Context, connected func()) (*pb.ResponseHeader, error) {
	conn, err := m.dialRaw(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if cfg := m.tlsConfig(); m.secure() {
		cfg.NextProtos = []string{"h2"}
		conn = tls.Client(conn, cfg)
	}
	connected()
	return exchange(conn, hostOf(m.Endpoint))
}

// exchange puts the question as gRPC would, in HTTP/2.
func exchange(conn net.Conn, host string) (*pb.ResponseHeader, error) {
	var out, block bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, conn)
	headers := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", pb.Watch_Watch_FullMethodName}, {":authority", host},
		{"content-type", "application/grpc"}, {"te", "trailers"}} {
		_ = headers.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}) // a Buffer takes everything
	}
	question := whoQuestion()
	err := errors.Join(f.WriteSettings(),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}),
		f.WriteData(1, false, append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(question))), question...)))
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(out.Bytes()); err != nil {
		return nil, err
	}
	var in []byte
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return nil, err
		}
		switch frame := frame.(type) {
		case *http2.DataFrame:
			in = append(in, frame.Data()...)
			if len(in) >= 5 && len(in) >= 5+int(binary.BigEndian.Uint32(in[1:])) {
				var a whoAnswer
				return &a.header, a.parse(in[5 : 5+binary.BigEndian.Uint32(in[1:])])
			}
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				return nil, errors.New("no answer, only an end")
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return nil, fmt.Errorf("%v", frame)
		}
	}
}
