# random_password LENGTH: letters and digits, about 6 bits each, with no line
# break. What head reads holds several times as many as are wanted.
random_password() {
    head -c 4096 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9' | head -c "$1"
}
