package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// opened counts connections.
var opened atomic.Int64

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	connection, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
	if err == nil {
		opened.Add(1)
	}
	return connection, err
}

// overHTTP is a client of either version of HTTP, with one connection.
type overHTTP struct {
	transport *http.Transport
	url, host string
}

func keepAlive(target, host string) client {
	return &overHTTP{&http.Transport{DialContext: dial, MaxConnsPerHost: 1, IdleConnTimeout: time.Hour}, "http://" + target + "/", host}
}

func priorKnowledge(target, host string) client {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	return &overHTTP{&http.Transport{DialContext: dial, MaxConnsPerHost: 1, Protocols: protocols}, "http://" + target + "/", host}
}

func (c *overHTTP) send(ctx context.Context) (string, error) {
	// A POST whose body cannot be read twice: the transport may not send it again behind our back.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, io.NopCloser(strings.NewReader("load")))
	if err != nil {
		return "", err
	}
	request.Host, request.ContentLength = c.host, 4
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return "", short(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return "", fmt.Errorf("body: %w", short(err))
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", response.StatusCode)
	}
	return response.Proto + " 200", nil
}

func (c *overHTTP) close() { c.transport.CloseIdleConnections() }

// overWebSocket sends a message and awaits the same message. It opens a new connection where the old one was told to end.
type overWebSocket struct {
	target, host string
	connection   *websocket.Conn
	number       int
}

func webSocket(target, host string) client { return &overWebSocket{target: target, host: host} }

func (c *overWebSocket) send(ctx context.Context) (string, error) {
	answer := "message"
	for range 2 {
		if c.connection == nil {
			header := http.Header{"Host": {c.host}}
			connection, response, err := (&websocket.Dialer{NetDialContext: dial}).DialContext(ctx, "ws://"+c.target+"/", header)
			if err != nil {
				if response != nil {
					err = fmt.Errorf("handshake: status %d", response.StatusCode)
				}
				return "", short(err)
			}
			c.connection = connection
		}
		err := c.exchange(ctx)
		if err == nil {
			return answer, nil
		}
		c.close()
		if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			return "", short(err)
		}
		answer = "message after close 1001"
	}
	return "", errors.New("two connections in a row closed with 1001")
}

func (c *overWebSocket) exchange(ctx context.Context) error {
	c.number++
	text := fmt.Sprintf("message %d", c.number)
	deadline, _ := ctx.Deadline()
	c.connection.SetReadDeadline(deadline)
	c.connection.SetWriteDeadline(deadline)
	// A write into a connection that is closing fails before the reason has been read: the read tells.
	written := c.connection.WriteMessage(websocket.TextMessage, []byte(text))
	_, answer, err := c.connection.ReadMessage()
	switch {
	case err != nil:
		return err
	case written != nil:
		return written
	case string(answer) != text:
		return fmt.Errorf("sent %q, got %q", text, answer)
	}
	return nil
}

func (c *overWebSocket) close() {
	if c.connection != nil {
		c.connection.Close()
		c.connection = nil
	}
}

// short leaves the ports out, so that equal errors count as one.
func short(err error) error {
	var operation *net.OpError
	if errors.As(err, &operation) {
		return fmt.Errorf("%s: %w", operation.Op, operation.Err)
	}
	return err
}
