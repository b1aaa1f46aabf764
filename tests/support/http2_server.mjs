// An HTTP/2 server of Node, for tests: cleartext, or TLS that refuses every protocol of the client.
//   GET /N: N bytes, trailer x-sum.  POST /echo: what was sent, trailer x-sum.  /reset: RST_STREAM, internal error.
//   /away: an answer, then GOAWAY; what is under way goes on.  /early: an interim answer before the answer.
//   /counts: requests by method and path.
import http2 from "node:http2";
import tls from "node:tls";
import fs from "node:fs";

const counts = {};

function body(size) {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at++) bytes[at] = (at * 31 + size) & 255;
  return bytes;
}

function answer(stream, bytes, path) {
  stream.respond({ ":status": 200, "x-path": path, "x-size": String(bytes.length) }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": String(bytes.length) }));
  stream.end(bytes);
}

const server = http2.createServer({ settings: { maxConcurrentStreams: 20 } });
server.on("stream", (stream, headers) => {
  const path = headers[":path"];
  const parts = [];
  stream.on("error", () => {});
  stream.on("data", (part) => parts.push(part));
  stream.on("end", () => {
    if (path === "/counts") {
      stream.respond({ ":status": 200, "content-type": "application/json" });
      stream.end(JSON.stringify(counts));
      return;
    }
    const key = `${headers[":method"]} ${path}`;
    counts[key] = (counts[key] || 0) + 1;
    if (path === "/reset") {
      stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    } else if (path === "/away") {
      answer(stream, Buffer.from("away"), path);
      stream.session.close();
    } else if (path === "/early") {
      stream.additionalHeaders({ ":status": 103, link: "</x>; rel=preload" });
      answer(stream, Buffer.from("early"), path);
    } else {
      answer(stream, path === "/echo" ? Buffer.concat(parts) : body(Number(path.slice(1))), path);
    }
  });
});
server.listen(0, "127.0.0.1", () => {
  const refusing = tls.createServer({ key: fs.readFileSync(process.argv[2]),
    cert: fs.readFileSync(process.argv[2]), ALPNCallback: () => undefined });
  refusing.on("tlsClientError", () => {});
  refusing.listen(0, "127.0.0.1", () => {
    console.log(JSON.stringify({ plain: server.address().port, refusing: refusing.address().port }));
  });
});
