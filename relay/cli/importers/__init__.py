"""What `relay import` reads: a relay's own export, a Slack export, a Mattermost bulk export; a module each."""
