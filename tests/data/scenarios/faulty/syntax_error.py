from loadgen import Plan, User, journey


@journey
async def browse(user: User) -> None
    await user.http.get("/")
