#include "tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>

int kf_tls_no_password(char *room, int size, int writing, void *data) {
  (void)room, (void)size, (void)writing, (void)data;
  return 0;
}

bool kf_tls_use_certificates(SSL_CTX *context, const char *text) {
  BIO *bio = BIO_new_mem_buf(text, -1);
  X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, kf_tls_no_password, NULL) : NULL;
  bool fine = certificate && SSL_CTX_use_certificate(context, certificate) == 1;
  X509_free(certificate);
  while (fine && (certificate = PEM_read_bio_X509(bio, NULL, kf_tls_no_password, NULL)) != NULL) {
    fine = SSL_CTX_add0_chain_cert(context, certificate) == 1;
    if (!fine) X509_free(certificate);
  }
  BIO_free(bio);
  if (fine) ERR_clear_error();  // the end of the text
  return fine;
}

bool kf_tls_use_key(SSL_CTX *context, const char *text) {
  BIO *bio = BIO_new_mem_buf(text, -1);
  EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, kf_tls_no_password, NULL) : NULL;
  bool fine = key && SSL_CTX_use_PrivateKey(context, key) == 1;
  EVP_PKEY_free(key);
  BIO_free(bio);
  return fine && SSL_CTX_check_private_key(context) == 1;
}
