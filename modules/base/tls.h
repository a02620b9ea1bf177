// The certificate and the key of a TLS server, from PEM texts. When one of these fails, OpenSSL's error queue
// says why.
#ifndef KF_BASE_TLS_H
#define KF_BASE_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>

// The first certificate is the server's, what follows its chain.
bool kf_tls_use_certificates(SSL_CTX *context, const char *text);

// The key must be that of the certificate, which comes first.
bool kf_tls_use_key(SSL_CTX *context, const char *text);

// A password for PEM_read_bio_…: there is none, so that an encrypted key is an error, never a prompt on the terminal.
int kf_tls_no_password(char *room, int size, int writing, void *data);

#endif
