"""Who is told what: live events, replays, presence and typing, and how each person sees an entry."""
