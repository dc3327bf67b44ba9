[Chat relay]
title=Chat relay
description=Chat for the local network: the page in the browser and the WebSocket, on one port
ports=8765/tcp
