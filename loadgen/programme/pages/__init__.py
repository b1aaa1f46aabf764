"""Pages of the programme as HTML without scripts: of the week and before a launch, with their charts, and as PDF."""
