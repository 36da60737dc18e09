#!/usr/bin/env bash
# Removes from multi-model-server's jar what never runs here. Nobody maintains it any more, and what is not there cannot be
# reached, whatever is found in it one day (docs/security.md).
#
# usage: trim_jar.sh JAR
set -euo pipefail

jar=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
jar --extract --file "$jar"

# Of netty, unix sockets by way of epoll and the HTTP/1.1 codec stay. TLS, compression, DNS, proxies, all other codecs and
# transports go, with the native libraries (the one that is needed is beside the jar).
find io/netty/handler -mindepth 1 -maxdepth 1 ! -name codec -exec rm -r {} +
find io/netty/handler/codec -mindepth 1 -maxdepth 1 -type d ! -name http -exec rm -r {} +
find io/netty/handler/codec/http -mindepth 1 -maxdepth 1 -type d ! -name multipart -exec rm -r {} +
rm -r io/netty/channel/{embedded,kqueue,local,nio,oio,pool,rxtx,sctp,udt} io/netty/resolver/dns
rm -r META-INF/native META-INF/native-image

# Of log4j, what sends lines elsewhere than to a stream or a file, and what looks values up elsewhere.
cd org/apache/logging/log4j/core
rm -r appender/{db,mom,nosql}
rm appender/{Smtp,Socket,Syslog}* layout/{Rfc5424,Syslog,Xml}* lookup/Jndi*
rm net/{AbstractSocket,Datagram,Mime,Smtp,SslSocket,TcpSocket}*
cd "$folder"

# Of commons-io, its reader and its writer of XML.
rm org/apache/commons/io/{input,output}/XmlStream*

jar --create --file "$jar" --no-manifest .
