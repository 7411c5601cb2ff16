"""auto's choice: is the site's own answer sure enough for what asking the cloud would cost?"""
