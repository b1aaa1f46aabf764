"""`user.llm`: the client of AI models of one user, its replies, conversations and tools."""
