"""gRPC over our own HTTP/2: the channel that generated stubs get (`CartStub(user.grpc)`)."""
