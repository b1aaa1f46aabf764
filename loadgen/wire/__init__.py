"""Between controller, agents and workers: typed messages, their protobuf form, frames and sockets."""
